"""The real argo-ams-library from PyPI, unmodified. Values are checked, not only statuses."""

import os
import time
from datetime import datetime, timedelta, timezone

from argo_ams_library import AmsException, AmsMessage, AmsServiceException, ArgoMessagingService
from argo_ams_library.amsuser import AmsUser, AmsUserProject
from argo_ams_library.amsexceptions import AmsBalancerException, AmsTimeoutException

from checks import Checks, Failed, equal, expect
from house import Ams

PROJECT = "LIB"


def refused(call, code: int, text: str = "", kind: type = AmsServiceException) -> None:
    """The call must raise that AMS error."""
    try:
        answer = call()
    except kind as error:
        equal(error.code, code, error.msg)
        expect(text in error.msg, f"{error.msg!r} does not say {text!r}")
    except AmsException as error:
        raise Failed(f"{type(error).__name__} instead of {kind.__name__}: {error}") from error
    else:
        raise Failed(f"no error but {answer!r}, wanted {code}")


def utc_now() -> datetime:
    """As the library wants it: naive, UTC, milliseconds."""
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    return now.replace(microsecond=max(1000, now.microsecond // 1000 * 1000))


def run(checks: Checks, ams: Ams) -> None:
    """All of it."""
    os.environ["REQUESTS_CA_BUNDLE"] = ams.ca
    admin = ams.session()
    admin.good("POST", f"/v1/projects/{PROJECT}", {"description": "the Python library"})
    tokens = {}
    for user, role in (("pub", "publisher"), ("sub", "consumer")):
        tokens[user] = admin.good("POST", f"/v1/projects/{PROJECT}/members/{user}", {
            "email": f"{user}@example.org", "projects": [{"project": PROJECT, "roles": [role]}]})["token"]

    def service(token: str) -> ArgoMessagingService:
        return ArgoMessagingService(endpoint=ams.endpoint, token=token, project=PROJECT)

    lib = service(ams.admin_token)
    with checks.check("library: create a topic and a subscription, see them, not twice"):
        equal(lib.has_topic("t"), False, "has_topic before")
        equal(lib.create_topic("t")["name"], f"/projects/{PROJECT}/topics/t", "create_topic")
        equal(lib.has_topic("t"), True, "has_topic")
        equal(lib.has_sub("s"), False, "has_sub before")
        made = lib.create_sub("s", "t", ackdeadline=20, retobj=True)
        equal((made.name, made.topic.name, made.ackdeadline, made.push_endpoint), ("s", "t", 20, ""), "create_sub")
        equal(lib.has_sub("s"), True, "has_sub")
        refused(lambda: lib.create_topic("t"), 409, "Topic already exists")
        refused(lambda: lib.create_sub("s", "t"), 409, "Subscription already exists")
        equal([t["name"] for t in lib.list_topics()["topics"]], [f"/projects/{PROJECT}/topics/t"], "list_topics")
        listed = lib.list_subs()
        equal((listed["totalSize"], listed["nextPageToken"]), (1, ""), "list_subs")
        equal([s.name for s in lib.iter_subs(topic="t")], ["s"], "iter_subs")
        equal([t.name for t in lib.iter_topics()], ["t"], "iter_topics")
    with checks.check("library: publish one and many, ids count from 0"):
        equal(lib.publish("t", AmsMessage(data="foo1", attributes={"bar1": "baz1"})), {"messageIds": ["0"]})
        time.sleep(0.02)
        between = utc_now()
        time.sleep(0.02)
        many = [AmsMessage(data=f"foo{i}", attributes={}) for i in (2, 3, 4)]
        equal(lib.publish("t", many), {"messageIds": ["1", "2", "3"]})
        equal(lib.publish("t", {"data": "bm90IGFuIG9iamVjdA==", "attributes": {"k": 'quote " \\ \n ü'}}),
              {"messageIds": ["4"]})
    with checks.check("library: pull and acknowledge move the offsets"):
        pulled = lib.pull_sub("s", num=2, return_immediately=True)
        equal([ack for ack, _ in pulled], [f"projects/{PROJECT}/subscriptions/s:{i}" for i in (0, 1)], "ackIds")
        equal([m.get_data() for _, m in pulled], [b"foo1", b"foo2"], "data")
        equal((pulled[0][1].get_attr(), pulled[0][1].get_msgid()), ({"bar1": "baz1"}, "0"), "message 0")
        expect(pulled[0][1].get_publishtime().endswith("Z"), "publishTime")
        equal(lib.getoffsets_sub("s"), {"max": 5, "min": 0, "current": 0}, "a pull does not move")
        equal(lib.ack_sub("s", [ack for ack, _ in pulled]), True, "ack_sub")
        equal(lib.getoffsets_sub("s"), {"max": 5, "min": 0, "current": 2}, "after the ack")
        equal(lib.getoffsets_sub("s", "current"), 2, "one offset")
        rest = lib.pullack_sub("s", num=10)
        equal([m.get_data() for m in rest], [b"foo3", b"foo4", b"not an object"], "pullack_sub")
        equal(rest[2].get_attr(), {"k": 'quote " \\ \n ü'}, "attributes are verbatim")
        equal(lib.getoffsets_sub("s", "current"), 5, "after pullack")
    with checks.check("library: an empty pull answers at once, whatever returnImmediately says"):
        began = time.monotonic()
        equal(lib.pull_sub("s", num=1), [], "empty")
        equal(lib.pull_sub("s", num=1, return_immediately=True), [], "empty")
        expect(time.monotonic() - began < 2, f"{time.monotonic() - began:.1f} s")
    with checks.check("library: go back by offset and by time"):
        equal(lib.time_to_offset_sub("s", between), 1, "between the publishes")
        equal(lib.time_to_offset_sub("s", datetime(2020, 1, 1)), 0, "whole seconds, a blank instead of T")
        refused(lambda: lib.time_to_offset_sub("s", utc_now() + timedelta(days=1)), 409, "out of bounds")
        lib.modifyoffset_sub("s", 3)
        equal(lib.getoffsets_sub("s"), {"max": 5, "min": 0, "current": 3}, "moved")
        equal([m.get_data() for m in lib.pullack_sub("s", num=1)], [b"foo4"], "from there")
        refused(lambda: lib.modifyoffset_sub("s", 6), 400, "Offset out of bounds")
        equal(lib.getoffsets_sub("s", "current"), 4, "a refused move moves nothing")
        subscription = lib.get_sub("s", retobj=True)
        equal(subscription.offsets(move_to=5), {"max": 5, "min": 0, "current": 5}, "offsets(move_to)")
    with checks.check("library: ACLs are set, shown and enforced"):
        equal(lib.getacl_topic("t"), {"authorized_users": []}, "empty at first")
        publisher, consumer = service(tokens["pub"]), service(tokens["sub"])
        refused(lambda: publisher.publish("t", AmsMessage(data="x")), 403, "forbidden")
        refused(lambda: consumer.pull_sub("s"), 403, "forbidden")
        equal(lib.modifyacl_topic("t", ["pub"]), True)
        equal(lib.modifyacl_sub("s", ["sub"]), True)
        equal(lib.getacl_topic("t"), {"authorized_users": ["pub"]})
        equal(lib.getacl_sub("s"), {"authorized_users": ["sub"]})
        equal(publisher.publish("t", AmsMessage(data="mine")), {"messageIds": ["5"]})
        equal([m.get_data() for m in consumer.pullack_sub("s")], [b"mine"])
        refused(lambda: lib.modifyacl_topic("t", ["nobody"]), 404, "User(s): nobody do not exist")
        equal(lib.getacl_topic("t"), {"authorized_users": ["pub"]}, "a refused list changes nothing")
        refused(lambda: publisher.create_topic("t2"), 403)
        equal(lib.modifyacl_topic("t", []), True)
        refused(lambda: publisher.publish("t", AmsMessage(data="x")), 403)
    with checks.check("library: push settings are refused while nothing delivers, and may be removed"):
        endpoint = "https://receiver.example.org/push"
        refused(lambda: lib.pushconfig_sub("s", push_endpoint=endpoint), 409, "Push functionality is currently disabled")
        refused(lambda: lib.create_sub("p", "t", push_endpoint=endpoint), 409, "Push functionality is currently disabled")
        # The library makes it first, then asks for push.
        equal(lib.delete_sub("p"), {}, "what it made is there, without push")
        equal(lib.pushconfig_sub("s"), {}, "back to pull")
        equal(lib.get_sub("s")["pushConfig"]["pushEndpoint"], "", "s is pulled")
    with checks.check("library: errors arrive as the library's own"):
        refused(lambda: service("0" * 64).list_topics(), 401, "Unauthorized")
        refused(lambda: lib.publish("none", AmsMessage(data="x")), 404, "Topic doesn't exist")
        refused(lambda: lib.pull_sub("none"), 404, "Subscription doesn't exist")
        refused(lambda: lib.ack_sub("s", ["projects/X/subscriptions/s:1"]), 400, "Invalid ack id")
        refused(lambda: lib.ack_sub("s", [f"projects/{PROJECT}/subscriptions/s:99"]), 500, "ack",
                AmsBalancerException)
        refused(lambda: lib.create_topic("no.dots"), 400, "Invalid topic name")
        refused(lambda: lib.publish("t", {"data": 7}), 400, "Invalid Message Arguments")
        equal(lib.getoffsets_sub("s"), {"max": 6, "min": 0, "current": 6}, "nothing of it changed anything")
    with checks.check("library: an acknowledgement after the deadline is a timeout, a raised deadline rescues it"):
        lib.create_sub("late", "t", ackdeadline=1)
        lib.publish("t", AmsMessage(data="slow"))
        (ack, _), = lib.pull_sub("late")
        time.sleep(2.3)
        refused(lambda: lib.ack_sub("late", [ack]), 408, "ack timeout", AmsTimeoutException)
        equal(lib.getoffsets_sub("late", "current"), 6, "state unchanged")
        admin.good("POST", f"/v1/projects/{PROJECT}/subscriptions/late:modifyAckDeadline", {"ackDeadlineSeconds": 60})
        equal(lib.ack_sub("late", [ack]), True, "rescued")
        equal(lib.getoffsets_sub("late", "current"), 7)
    with checks.check("library: a message of 1 MiB is stored and returned as it is; 11 MiB are refused with 413"):
        lib.create_sub("big", "t")
        blob = os.urandom(1 << 20)
        equal(lib.publish("t", AmsMessage(data=blob)), {"messageIds": ["7"]})
        (ack, message), = lib.pull_sub("big")
        expect(message.get_data() == blob, "the bytes differ")
        equal(lib.ack_sub("big", [ack]), True)
        refused(lambda: lib.publish("t", AmsMessage(data=os.urandom(8 << 20))), 413, "Message size is too large")
        equal(lib.getoffsets_sub("big", "max"), 8, "nothing of it is stored")
    people(checks, lib, service, tokens["pub"])
    figures(checks, lib, service(tokens["pub"]))
    with checks.check("library: delete; the subscription outlives its topic and says so"):
        equal(lib.delete_sub("big"), {})
        equal(lib.has_sub("big"), False)
        lib.delete_topic("t")
        equal(lib.has_topic("t"), False)
        refused(lambda: lib.pull_sub("s"), 409, "Subscription's topic doesn't exist")
        equal(lib.get_sub("s")["topic"], f"/projects/{PROJECT}/topics/t")
        lib.create_topic("t")
        equal(lib.publish("t", AmsMessage(data="again")), {"messageIds": ["0"]}, "a new life counts from 0")
        equal([m.get_data() for m in lib.pullack_sub("s")], [b"again"], "and its old subscription sees it")


def people(checks: Checks, lib: ArgoMessagingService, service, publisher_token: str) -> None:
    """Users, members and projects."""
    with checks.check("library: users are made, found in every way, changed, listed, given a new token, deleted"):
        made = lib.create_user(AmsUser(name="ann", email="ann@example.org", firstname="Ann", projects=[
            AmsUserProject(project=PROJECT, roles=["consumer"])], service_roles=["metrics_viewer"]))
        equal((made.name, made.email, made.firstname, made.service_roles),
              ("ann", "ann@example.org", "Ann", ["metrics_viewer"]), "create_user")
        equal([(p.project, p.roles) for p in made.projects], [(PROJECT, ["consumer"])], "its project")
        refused(lambda: lib.create_user(AmsUser(name="ann")), 409, "User already exists")
        for found in (lib.get_user("ann"), lib.get_user_by_token(made.token), lib.get_user_by_uuid(made.uuid),
                      service(made.token).get_user_profile()):
            equal((found.uuid, found.token, found.created_by), (made.uuid, made.token, "admin"), "found")
        changed = lib.update_user("ann", last_name="Other", username="renamed", service_roles=["admin_viewer"],
                                  projects=[AmsUserProject(project=PROJECT, roles=["publisher"])])
        equal((changed.name, changed.uuid, changed.firstname, changed.lastname, changed.service_roles),
              ("renamed", made.uuid, "Ann", "Other", ["admin_viewer"]), "update_user")
        refused(lambda: lib.get_user("ann"), 404, "User doesn't exist")
        # Other parts of these checks have users too.
        known = lib.list_users().users
        equal([user.name for user in known][0], "renamed", "newest first")
        equal(known[0].projects[0].roles, ["publisher"], "its roles")
        page = lib.list_users(page_size=2)
        equal((page.total_size, [user.name for user in page.users]),
              (len(known), [user.name for user in known[:2]]), "the first page")
        rest = lib.list_users(page_size=2, next_page_token=page.next_page_token)
        equal([user.name for user in rest.users], [user.name for user in known[2:4]], "the second page")
        fresh = lib.refresh_user_token("renamed")
        expect(fresh.token != made.token, "the token is the same")
        refused(lambda: service(made.token).get_user_profile(), 401, "Unauthorized")
        equal(service(fresh.token).get_user_profile().name, "renamed", "the new token")
        lib.delete_user("renamed")
        refused(lambda: lib.delete_user("renamed"), 404, "User doesn't exist")
        refused(lambda: service(fresh.token).get_user_profile(), 401, "Unauthorized")
    with checks.check("library: members and projects"):
        equal(lib.create_project("SIDE", "beside")["description"], "beside", "create_project")
        equal(lib.update_project("SIDE", description="other", updated_name="ASIDE")["name"], "ASIDE", "update_project")
        member = lib.create_project_member("mem", "ASIDE", ["consumer"], "mem@example.org")
        equal((member.name, [(p.project, p.roles) for p in member.projects]), ("mem", [("ASIDE", ["consumer"])]))
        equal(lib.add_project_member("pub", "ASIDE", ["publisher"]).name, "pub", "add_project_member")
        refused(lambda: lib.add_project_member("pub", "ASIDE", ["publisher"]), 409, "already a member")
        equal(lib.get_project_member("pub", "ASIDE").name, "pub", "get_project_member")
        equal(lib.remove_project_member("pub", "ASIDE"), {}, "remove_project_member")
        refused(lambda: lib.get_project_member("pub", "ASIDE"), 404, "User doesn't exist")
        lib.delete_project("ASIDE")
        refused(lambda: lib.get_project("ASIDE"), 404, "project doesn't exist")
        lib.delete_user("mem")
        equal(lib.get_project(PROJECT)["name"], PROJECT)
        profile = service(publisher_token).get_user_profile()
        equal((profile.name, profile.email, [(p.project, p.roles) for p in profile.projects]),
              ("pub", "pub@example.org", [(PROJECT, ["publisher"])]), "profile")


def figures(checks: Checks, lib: ArgoMessagingService, publisher: ArgoMessagingService) -> None:
    """Status, version, metrics, reports."""
    with checks.check("library: status, version, metrics and reports"):
        equal(lib.status()["status"], "ok")
        expect(lib.version()["os"], "version")
        names = {metric["metric"] for metric in lib.metrics()["metrics"]}
        equal(names, {"ams_node.cpu_usage", "ams_node.memory_usage"}, "metrics")
        report = lib.va_metrics(projects=[PROJECT])
        (project,) = report["projects_metrics"]["projects"]
        equal((project["project"], project["message_count"]), (PROJECT, 8), "va_metrics")
        equal(publisher.usage_report()["va_metrics"]["projects_metrics"]["projects"], [], "usage_report of no admin")
