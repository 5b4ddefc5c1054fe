//! The routes by their AMS names, and who may call them unless the operator says otherwise
//! (`ams-contract.md` 4, the ANS defaults).

use crate::domain::roles::{ProjectRole, ServiceRole};

macro_rules! routes {
    ($($variant:ident = $name:literal [$($project:ident),*] [$($service:ident),*];)+) => {
        /// A route, by its AMS name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Route {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Route {
            /// All that ask for rights.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its AMS name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The roles in a project that may call it by default.
            pub(super) const fn project_roles(self) -> &'static [ProjectRole] {
                match self {
                    $(Self::$variant => &[$(ProjectRole::$project),*],)+
                }
            }

            /// The roles in the service that may call it by default.
            pub(super) const fn service_roles(self) -> &'static [ServiceRole] {
                match self {
                    $(Self::$variant => &[$(ServiceRole::$service),*],)+
                }
            }
        }
    };
}

// `:modifyAlert`, `:modifyRetention`, `:read`, `:seek` and snapshots are ours.
routes! {
    UsersByToken = "users:byToken" [] [ServiceAdmin, PushWorker];
    UsersByUuid = "users:byUUID" [] [ServiceAdmin, ArgoApiAuthn];
    UsersList = "users:list" [] [ServiceAdmin];
    UsersShow = "users:show" [] [ServiceAdmin];
    UsersRefreshToken = "users:refreshToken" [] [ServiceAdmin];
    AmsMetrics = "ams:metrics" [ProjectAdmin] [ServiceAdmin, MetricsViewer];
    AmsVaMetrics = "ams:vaMetrics" [ProjectAdmin] [ServiceAdmin, MetricsViewer];
    UsersCreate = "users:create" [] [ServiceAdmin];
    UsersUpdate = "users:update" [] [ServiceAdmin];
    UsersDelete = "users:delete" [] [ServiceAdmin];
    RegistrationsNewUser = "registrations:newUser" [] [ServiceAdmin, RegisterAdmin];
    RegistrationsAcceptNewUser = "registrations:acceptNewUser" [] [ServiceAdmin];
    RegistrationsDeclineNewUser = "registrations:declineNewUser" [] [ServiceAdmin];
    RegistrationsDelete = "registrations:delete" [] [ServiceAdmin];
    RegistrationsShow = "registrations:show" [] [ServiceAdmin];
    RegistrationsList = "registrations:list" [] [ServiceAdmin];
    ProjectsList = "projects:list" [] [ServiceAdmin];
    ProjectsMetrics = "projects:metrics" [ProjectAdmin] [ServiceAdmin];
    ProjectsAddUser = "projects:addUser" [ProjectAdmin] [ServiceAdmin];
    ProjectsRemoveUser = "projects:removeUser" [ProjectAdmin] [ServiceAdmin];
    ProjectsShowUser = "projects:showUser" [ProjectAdmin] [ServiceAdmin];
    ProjectsCreateUser = "projects:createUser" [ProjectAdmin] [ServiceAdmin];
    ProjectsUpdateUser = "projects:updateUser" [ProjectAdmin] [ServiceAdmin];
    ProjectsListUsers = "projects:listUsers" [ProjectAdmin] [ServiceAdmin];
    ProjectsShow = "projects:show" [ProjectAdmin] [ServiceAdmin];
    ProjectsCreate = "projects:create" [] [ServiceAdmin];
    ProjectsUpdate = "projects:update" [ProjectAdmin] [ServiceAdmin];
    ProjectsDelete = "projects:delete" [ProjectAdmin] [ServiceAdmin];
    AuditList = "audit:list" [] [ServiceAdmin];
    ProjectsAudit = "projects:audit" [ProjectAdmin] [ServiceAdmin];
    ProjectsModifyAlert = "projects:modifyAlert" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsList = "subscriptions:list" [ProjectAdmin, Consumer] [ServiceAdmin];
    SubscriptionsListByTopic = "subscriptions:listByTopic" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsOffsets = "subscriptions:offsets" [ProjectAdmin, Consumer] [ServiceAdmin];
    SubscriptionsTimeToOffset = "subscriptions:timeToOffset" [ProjectAdmin, Consumer] [ServiceAdmin];
    SubscriptionsAcl = "subscriptions:acl" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsMetrics = "subscriptions:metrics" [ProjectAdmin, Consumer] [ServiceAdmin];
    SubscriptionsShow = "subscriptions:show" [ProjectAdmin, Consumer] [ServiceAdmin, PushWorker];
    SubscriptionsCreate = "subscriptions:create" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsDelete = "subscriptions:delete" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsPull = "subscriptions:pull" [ProjectAdmin, Consumer] [ServiceAdmin, PushWorker];
    SubscriptionsAcknowledge = "subscriptions:acknowledge" [ProjectAdmin, Consumer] [ServiceAdmin, PushWorker];
    SubscriptionsVerifyPushEndpoint = "subscriptions:verifyPushEndpoint" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsModifyAckDeadline = "subscriptions:modifyAckDeadline" [ProjectAdmin, Consumer] [ServiceAdmin];
    SubscriptionsModifyPushConfig = "subscriptions:modifyPushConfig" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsModifyOffset = "subscriptions:modifyOffset" [ProjectAdmin, Consumer] [ServiceAdmin];
    SubscriptionsSeek = "subscriptions:seek" [ProjectAdmin, Consumer] [ServiceAdmin];
    SubscriptionsModifyAcl = "subscriptions:modifyAcl" [ProjectAdmin] [ServiceAdmin];
    SubscriptionsModifyAlert = "subscriptions:modifyAlert" [ProjectAdmin] [ServiceAdmin];
    SnapshotsList = "snapshots:list" [ProjectAdmin, Consumer] [ServiceAdmin];
    SnapshotsShow = "snapshots:show" [ProjectAdmin, Consumer] [ServiceAdmin];
    SnapshotsCreate = "snapshots:create" [ProjectAdmin, Consumer] [ServiceAdmin];
    SnapshotsDelete = "snapshots:delete" [ProjectAdmin, Consumer] [ServiceAdmin];
    TopicsList = "topics:list" [ProjectAdmin, Publisher] [ServiceAdmin];
    TopicsAcl = "topics:acl" [ProjectAdmin] [ServiceAdmin];
    TopicsRead = "topics:read" [ProjectAdmin] [ServiceAdmin];
    TopicsMetrics = "topics:metrics" [ProjectAdmin, Publisher] [ServiceAdmin];
    TopicsShow = "topics:show" [ProjectAdmin, Publisher] [ServiceAdmin];
    TopicsCreate = "topics:create" [ProjectAdmin] [ServiceAdmin];
    TopicsDelete = "topics:delete" [ProjectAdmin] [ServiceAdmin];
    TopicsPublish = "topics:publish" [ProjectAdmin, Publisher] [ServiceAdmin];
    TopicsModifyAcl = "topics:modifyAcl" [ProjectAdmin] [ServiceAdmin];
    TopicsModifyAlert = "topics:modifyAlert" [ProjectAdmin] [ServiceAdmin];
    TopicsModifyRetention = "topics:modifyRetention" [ProjectAdmin] [ServiceAdmin];
    TopicsAttachSchema = "topics:attachSchema" [ProjectAdmin] [ServiceAdmin];
    TopicsDetachSchema = "topics:detachSchema" [ProjectAdmin] [ServiceAdmin];
    SchemasValidateMessage = "schemas:validateMessage" [ProjectAdmin] [ServiceAdmin];
    SchemasCreate = "schemas:create" [ProjectAdmin] [ServiceAdmin];
    SchemasShow = "schemas:show" [ProjectAdmin] [ServiceAdmin];
    SchemasList = "schemas:list" [ProjectAdmin] [ServiceAdmin];
    SchemasUpdate = "schemas:update" [ProjectAdmin] [ServiceAdmin];
    SchemasDelete = "schemas:delete" [ProjectAdmin] [ServiceAdmin];
}
