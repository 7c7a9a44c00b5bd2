"""A Hub on loopback with two users and two services, for the live tests. start.sh sets the variables that are read here."""

import os
import shlex
import sys

state = os.environ["GOLDCREST_JUPYTERHUB_STATE"]
port = int(os.environ["GOLDCREST_JUPYTERHUB_PORT"])


def secret(name):
    with open(f"{state}/{name}") as file:
        return file.read().strip()


c = get_config()  # noqa: F821  # JupyterHub defines it

c.JupyterHub.bind_url = f"http://127.0.0.1:{port}/jupyter"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port + 1}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 2}"
c.ConfigurableHTTPProxy.command = [f"{state}/app/node_modules/.bin/configurable-http-proxy"]
c.ConfigurableHTTPProxy.pid_file = f"{state}/proxy.pid"
c.JupyterHub.db_url = f"sqlite:///{state}/hub.sqlite"
c.JupyterHub.cookie_secret_file = f"{state}/cookie_secret"

# Nobody logs in with a browser: the tokens are made by the service "tests".
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = secret("password")
c.Authenticator.allowed_users = {"fireuser", "otheruser"}
c.JupyterHub.load_groups = {"goldcrest-fireuser": {"users": ["fireuser"]}, "goldcrest-otheruser": {"users": ["otheruser"]}}

# The Hub starts the second one, which only writes down what it was given, and answers until start.sh has seen the Hub: a test runs Goldcrest
# in its place.
stand_in = f"""
umask 077
cd {shlex.quote(state)}
env | grep ^JUPYTERHUB_ >service.env
mkdir -p empty
{shlex.quote(sys.executable)} -m http.server --bind 127.0.0.1 --directory empty {port + 3} &
echo $! >stand_in.pid
wait
exec sleep infinity
"""
c.JupyterHub.services = [
    {"name": "tests", "api_token": secret("tests.token")},
    {"name": "goldcrest", "url": f"http://127.0.0.1:{port + 3}", "command": ["sh", "-c", stand_in]},
]
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", "access:services!service=goldcrest"]},
    {"name": "tests", "scopes": ["admin:users", "tokens", "access:services!service=goldcrest"], "services": ["tests"]},
]
