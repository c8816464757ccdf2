"""CloudFormation's SignalResource, which moto lacks: each signal becomes a line of a file."""

import time

from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import EmptyResult

from aws import denials, record

STATUSES = ("SUCCESS", "FAILURE")


def install(path):
    """Teach moto the action; signals are appended to the file at `path`."""

    def signal_resource(self):
        names = ("StackName", "LogicalResourceId", "UniqueId", "Status")
        values = {name: self._get_param(name) for name in names}
        missing = [name for name in names if not values[name]]
        if missing or values["Status"] not in STATUSES:
            raise denials.in_protocol(self, 400, "ValidationError", f"missing or wrong: {missing or 'Status'}")
        record.append(
            path,
            {
                "time": round(time.time(), 3),
                "stack": values["StackName"],
                "resource": values["LogicalResourceId"],
                "unique_id": values["UniqueId"],
                "status": values["Status"],
                "principal": record.facts().get("principal", ""),
            },
        )
        return EmptyResult()

    CloudFormationResponse.signal_resource = signal_resource
