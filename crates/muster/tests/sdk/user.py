"""Accounts by the Python SDK of Determined; what it prints is compared in sdk.rs."""

from determined.experimental import client


def show(user):
    user.reload()
    link = (user.agent_uid, user.agent_gid, user.agent_user, user.agent_group)
    print(user.user_id, user.username, user.admin, user.active, user.remote, user.display_name, *link)


def refused(what, act):
    try:
        act()
    except Exception as e:
        print(what, type(e).__name__, str(e).splitlines()[0])
    else:
        print(what, "allowed")


client.login(user="admin", password="")
print(client.get_session_username(), client.whoami().user_id)

alice = client.create_user("alice", admin=False, password="Correct0")
show(alice)
show(client.create_user("pupil", admin=True, remote=True))
refused("again", lambda: client.create_user("alice", admin=False, password="Correct0"))
refused("weak", lambda: client.create_user("weak", admin=False, password="weak"))

alice.rename("alicia")
alice.change_display_name("Alicia A")
alice.link_with_agent(agent_uid=5001, agent_gid=5002, agent_user="alice", agent_group="lab")
alice.deactivate()
show(client.get_user_by_id(alice.user_id))
print(sorted(user.username for user in client.list_users(active=True)))
print(sorted(user.username for user in client.list_users(active=False)))
alice.activate()
alice.change_password("Another0")
show(client.get_user_by_name("alicia"))
print(sorted(user.username for user in client.list_users()))
refused("missing", lambda: client.get_user_by_name("alice"))
client.logout()

refused("old password", lambda: client.Determined(user="alicia", password="Correct0"))
own = client.Determined(user="alicia", password="Another0")
print(own.whoami().username)
refused("not hers", lambda: own.create_user("eve", admin=False, password="Correct0"))
refused("not hers", own.get_user_by_name("admin").deactivate)
own.get_user_by_name("alicia").change_display_name("Al")
show(own.whoami())
own.logout()
refused("logged out", own.whoami)
