//! Push settings of subscriptions (`ams-contract.md` 12.1-12.3, 12.7). Nothing is delivered yet.

use super::{Broker, Caller, Error, PushView, tokens};
use crate::domain::push::{Destination, Endpoint, FreshSecrets, HttpEndpoint};
use crate::domain::records::SubscriptionRecord;
use crate::domain::{PushRequest, PushSettings, SubscriptionName};

impl Broker {
    fn is_push_on(&self) -> Result<(), Error> {
        if self.0.settings.push_enabled { Ok(()) } else { Err(Error::PushDisabled) }
    }

    fn fresh_secrets(&self) -> Result<FreshSecrets, Error> {
        let sealed = || self.0.seal.seal(&tokens::fresh()?);
        Ok(FreshSecrets { authorization: sealed()?, verification_hash: sealed()? })
    }

    /// The settings of a new subscription. `PushDisabled`, then what is wrong with the request.
    pub(super) fn new_push(
        &self,
        request: Option<&PushRequest>,
    ) -> Result<Option<Box<PushSettings>>, Error> {
        let Some(request) = request else { return Ok(None) };
        self.is_push_on()?;
        Ok(Some(Box::new(request.of_new(self.fresh_secrets()?)?)))
    }

    /// Has a subscription pushed as `request` says, or (`None`) pulled, which may be said while push
    /// is off too. `SubscriptionNotFound`, `PushDisabled`, then what is wrong with the request.
    pub async fn set_subscription_push(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        request: Option<PushRequest>,
    ) -> Result<(), Error> {
        self.subscription_record(caller.project()?, name)?;
        let Some(request) = request else {
            let pulled = |record: &mut SubscriptionRecord| {
                record.push = None;
                Ok(())
            };
            return self.edit_subscription(caller, name, pulled).await;
        };
        self.is_push_on()?;
        let fresh = self.fresh_secrets()?;
        let edit = move |record: &mut SubscriptionRecord| {
            let push = request.in_place_of(record.push.as_deref(), fresh.clone())?;
            record.push = Some(Box::new(push));
            Ok(())
        };
        self.edit_subscription(caller, name, edit).await
    }

    /// Which endpoint is to be verified: it has to answer the verification hash
    /// ([`Self::verify_push_endpoint`]). `PushDisabled`, `SubscriptionNotFound`, `NotHttpPush`, then
    /// `PushVerified`.
    pub fn push_endpoint(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
    ) -> Result<Endpoint, Error> {
        self.is_push_on()?;
        let record = self.subscription_record(caller.project()?, name)?;
        Ok(to_be_verified(record.push.as_deref())?.endpoint.clone())
    }

    /// Takes the endpoint for verified if what it `answered` is the verification hash, byte for
    /// byte; else `WrongVerificationHash`, also when the endpoint is another one meanwhile.
    pub async fn verify_push_endpoint(
        &self,
        caller: &Caller,
        name: &SubscriptionName,
        answered: Vec<u8>,
    ) -> Result<(), Error> {
        let broker = self.clone();
        let edit = move |record: &mut SubscriptionRecord| {
            let http = to_be_verified(record.push.as_deref())?;
            let expected = broker.0.seal.unseal(&http.verification_hash_sealed)?;
            if !is_same(expected.as_bytes(), &answered) {
                return Err(Error::WrongVerificationHash);
            }
            if let Some(Destination::HttpEndpoint(http)) =
                record.push.as_deref_mut().map(|push| &mut push.destination)
            {
                http.verified = true;
            }
            Ok(())
        };
        self.edit_subscription(caller, name, edit).await
    }

    /// Who may pull what is pushed: the push worker, while push is on, and service admins.
    pub(super) fn passes_push(
        &self,
        caller: &Caller,
        record: &SubscriptionRecord,
    ) -> Result<(), Error> {
        match record.push {
            None => Ok(()),
            Some(_) if caller.is_push_worker() => self.is_push_on(),
            Some(_) if caller.is_service_admin() => Ok(()),
            Some(_) => Err(Error::Forbidden),
        }
    }

    /// What is shown of push settings; of none, what AMS shows of a subscription that is pulled.
    pub(super) fn push_view(&self, push: Option<&PushSettings>) -> Result<PushView, Error> {
        let Some(push) = push else { return Ok(PushView::default()) };
        let view = PushView {
            kind: push.destination.as_str(),
            max_messages: 1,
            retry: push.retry.as_str(),
            period_ms: push.retry.period_ms(),
            verified: push.is_verified(),
            base64_decode: push.base64_decode,
            ..PushView::default()
        };
        Ok(match &push.destination {
            Destination::HttpEndpoint(http) => {
                let unseal = |sealed: &String| self.0.seal.unseal(sealed);
                let authorization = http.authorization_sealed.as_ref().map(unseal).transpose()?;
                PushView {
                    endpoint: http.endpoint.as_str().to_owned(),
                    max_messages: http.max_messages,
                    authorization: if authorization.is_some() { "autogen" } else { "disabled" },
                    authorization_value: authorization.unwrap_or_default(),
                    verification_hash: unseal(&http.verification_hash_sealed)?,
                    ..view
                }
            }
            Destination::Mattermost(mattermost) => PushView {
                mattermost_url: mattermost.url.clone(),
                mattermost_username: mattermost.username.clone(),
                mattermost_channel: mattermost.channel.clone(),
                ..view
            },
        })
    }
}

fn to_be_verified(push: Option<&PushSettings>) -> Result<&HttpEndpoint, Error> {
    let http = push.and_then(PushSettings::http).ok_or(Error::NotHttpPush)?;
    if http.verified { Err(Error::PushVerified) } else { Ok(http) }
}

/// Whether both are the same, in a time that tells nothing of where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b));
    one.len() == other.len() && differing == 0
}
