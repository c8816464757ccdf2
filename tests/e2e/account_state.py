"""What of the account a test may change, and the way back."""

import json


class AccountState:
    """A picture of settings, secrets, policy and release; `restore` makes them so again."""

    def __init__(self, lab):
        self.lab = lab
        self.release = lab.addresses.RELEASE_PARAMETER
        self.names = (lab.addresses.STATE_SECRET, lab.addresses.WAREHOUSE_SECRET)
        self.wanted = self._look()

    def _look(self):
        found = {"settings": self.lab.settings(), "policy": self.lab.policy()}
        ssm = self.lab.client("ssm")
        pages = ssm.get_paginator("get_parameters_by_path").paginate(
            Path=self.lab.addresses.PARAMETERS, Recursive=True, WithDecryption=True)
        parameters = [one for page in pages for one in page["Parameters"]]
        parameters.append(ssm.get_parameter(Name=self.release)["Parameter"])
        found["parameters"] = {one["Name"]: (one["Type"], one["Value"]) for one in parameters}
        found["secrets"] = {name: self._secret(name) for name in self.names}
        return found

    def _secret(self, name):
        client = self.lab.client("secretsmanager")
        try:
            return json.loads(client.get_secret_value(SecretId=name)["SecretString"])
        except (client.exceptions.ResourceNotFoundException, client.exceptions.InvalidRequestException):
            return None

    def restore(self):
        """Put back what differs; returns what that was, by name."""
        self.lab.faults()
        found, restored = self._look(), []
        if found["settings"] != self.wanted["settings"]:
            self.lab.settings(self.wanted["settings"])
            restored.append("settings")
        if found["policy"] != self.wanted["policy"]:
            self.lab.policy(document=self.wanted["policy"])
            restored.append("policy")
        restored += self._restore_parameters(found["parameters"])
        for name, value in self.wanted["secrets"].items():
            if found["secrets"][name] != value:
                put_secret(self.lab, name, value)
                restored.append(name)
        if self.lab.addresses.STATE_SECRET in restored:
            state = self.wanted["secrets"][self.lab.addresses.STATE_SECRET]
            set_password(self.lab, state["username"], state["password"])
        return restored

    def _restore_parameters(self, found):
        ssm, wanted = self.lab.client("ssm"), self.wanted["parameters"]
        for name in found.keys() - wanted.keys():
            ssm.delete_parameter(Name=name)
        changed = [name for name in wanted if found.get(name) != wanted[name]]
        for name in changed:
            kind, value = wanted[name]
            ssm.put_parameter(Name=name, Type=kind, Value=value, Overwrite=True)
        return sorted({*changed, *(found.keys() - wanted.keys())})


def put_secret(lab, name, value):
    """Write a secret, and make it first where it was deleted."""
    client = lab.client("secretsmanager")
    try:
        lab.secret(name, value)
    except (client.exceptions.ResourceNotFoundException, client.exceptions.InvalidRequestException):
        client.create_secret(Name=name, SecretString=json.dumps(value))


def delete_secret(lab, name):
    lab.client("secretsmanager").delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def set_password(lab, user, password):
    """Set the password of a user of the state database."""
    quoted = password.replace("'", "''")
    lab.database().query(f"ALTER ROLE {user} PASSWORD '{quoted}'")
