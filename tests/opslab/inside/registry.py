"""The container registry as ECR: TLS, and the one user that GetAuthorizationToken names.

Environment: REGISTRY_USER, REGISTRY_PASSWORD. Files: /lab/tls/{certificate,key}.pem.
"""

import crypt
import os
import textwrap

HTPASSWD, CONFIG = "/run/registry.htpasswd", "/run/registry.yml"


def main():
    hashed = crypt.crypt(os.environ["REGISTRY_PASSWORD"], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=2**5))
    with open(HTPASSWD, "w", encoding="utf-8") as stream:
        # The registry knows the prefix 2y; the algorithm is the same.
        stream.write(f"{os.environ['REGISTRY_USER']}:{hashed.replace('$2b$', '$2y$', 1)}\n")
    with open(CONFIG, "w", encoding="utf-8") as stream:
        stream.write(
            textwrap.dedent(f"""
            version: 0.1
            log: {{ level: warn }}
            storage:
              filesystem: {{ rootdirectory: /var/lib/registry }}
              delete: {{ enabled: true }}
            auth:
              htpasswd: {{ realm: lab, path: {HTPASSWD} }}
            http:
              addr: :443
              secret: lab
              tls: {{ certificate: /lab/tls/certificate.pem, key: /lab/tls/key.pem }}
            """)
        )
    os.execvp("docker-registry", ["docker-registry", "serve", CONFIG])


if __name__ == "__main__":
    main()
