"""Instance ids that outlive the account.

moto forgets everything when it restarts; a host that is already running must then keep its id, or
cloud-init would take it for a new instance. RunInstances with a client token that looks like an
instance id gets that id. And a terminated instance gives its address back, which moto forgets.
"""

import re
import threading

from moto.ec2.models import instances

_wanted = threading.local()


def install():
    """Patch RunInstances and TerminateInstances."""
    random_id, run = instances.random_instance_id, instances.InstanceBackend.run_instances

    def run_instances(self, *args, **kwargs):
        _wanted.token = kwargs.get("client_token") or ""
        return run(self, *args, **kwargs)

    def instance_id():
        token = getattr(_wanted, "token", "")
        return token if re.fullmatch(r"i-[0-9a-f]{17}", token) else random_id()

    terminate = instances.Instance.terminate

    def terminate_and_free(self):
        for subnet in self.ec2_backend.describe_subnets():
            for address in [ip for ip, owner in subnet._subnet_ips.items() if owner is self]:
                subnet.del_subnet_ip(address)
        return terminate(self)

    instances.Instance.terminate = terminate_and_free
    instances.InstanceBackend.run_instances = run_instances
    instances.random_instance_id = instance_id
