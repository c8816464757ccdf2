"""The container registry, with the credentials that the account's ECR hands out."""

import base64
import json
import pathlib
import re
import ssl
import urllib.error
import urllib.request

from opslab import account, addresses, aws, certificates, docker, images, progress

REPOSITORY = "sqlmesh"
SQLMESH_RECIPE = addresses.ROOT / "tests" / "sqlmesh-image"
# Docker looks here for the authority of a registry; the daemon need not be restarted.
DOCKER_TRUST = pathlib.Path("/etc/docker/certs.d") / addresses.REGISTRY / "ca.crt"
MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json"


def credentials():
    """User and password, as ECR's GetAuthorizationToken gives them."""
    token = aws.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    return user, password


def ensure():
    """Run the registry and let this machine's docker push to it."""
    user, password = credentials()
    authority = certificates.authority_file(certificates.PUBLIC)
    tls = certificates.ensure_certificate("registry", certificates.PUBLIC, [addresses.REGISTRY_NAME, addresses.REGISTRY])
    state = docker.ensure_container(
        "registry",
        images.services(),
        [
            *docker.on_network(addresses.REGISTRY),
            "-v",
            f"{addresses.container('registry')}:/var/lib/registry",
            "-v",
            f"{tls}:/lab/tls:ro",
            "-e",
            f"REGISTRY_USER={user}",
            "-e",
            f"REGISTRY_PASSWORD={password}",
        ],
        ["python3", "/opt/opslab/inside/registry.py"],
        also=(tls / "certificate.pem").read_text(),
    )
    DOCKER_TRUST.parent.mkdir(parents=True, exist_ok=True)
    DOCKER_TRUST.write_bytes(authority.read_bytes())
    docker.wait_healthy("registry", lambda: request("/v2/")[0] == 200)
    progress.say("registry", f"{addresses.REGISTRY_NAME} {state}")


def request(path, method="GET", login=None):
    """Status and headers of a request to the registry; `login` is (user, password), by default ECR's."""
    context = ssl.create_default_context(cafile=str(certificates.authority_file(certificates.PUBLIC)))
    token = base64.b64encode(":".join(login or credentials()).encode()).decode()
    wanted = urllib.request.Request(
        f"https://{addresses.REGISTRY}{path}", method=method, headers={"Authorization": f"Basic {token}", "Accept": MANIFESTS}
    )
    try:
        with urllib.request.urlopen(wanted, timeout=10, context=context) as response:
            return response.status, response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers
    except (urllib.error.URLError, OSError):
        return 0, {}


def push(image, tag, repository=REPOSITORY):
    """Put a local image into the registry, unless that tag is there; returns its digest."""
    status, headers = request(f"/v2/{repository}/manifests/{tag}", "HEAD")
    if status == 200:
        return headers["Docker-Content-Digest"]
    progress.say("registry", f"pushing {repository}:{tag}…")
    target = f"{addresses.REGISTRY}/{repository}:{tag}"
    home = addresses.STATE / "docker-config"
    home.mkdir(parents=True, exist_ok=True)
    login = base64.b64encode(":".join(credentials()).encode()).decode()
    (home / "config.json").write_text(json.dumps({"auths": {addresses.REGISTRY: {"auth": login}}}))
    docker.run("tag", image, target)
    said = docker.run("--config", home, "push", target, timeout=900)
    docker.run("rmi", target, check=False)
    digest = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    if not digest:
        raise progress.LabError(f"registry: docker push of {target} named no digest")
    return digest.group(1)


def sqlmesh_image():
    """The SQLMesh image, built from the package index."""
    return images.build("sqlmesh", SQLMESH_RECIPE, [(images.MACHINE_AUTHORITIES, "ca-bundle.crt")])


def publish_sqlmesh():
    """Build the SQLMesh image, push it, and name it by digest in the settings. Returns the reference."""
    image = sqlmesh_image()
    digest = push(image, image.rpartition(":")[2])
    reference = f"{addresses.REGISTRY_NAME}/{REPOSITORY}@{digest}"
    account.put_parameter(addresses.IMAGE_PARAMETER, reference)
    progress.say("registry", f"{REPOSITORY}@{digest[:19]}…")
    return reference
