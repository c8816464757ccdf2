"""Access control by resource.

moto checks actions, but for most services against the resource "*": a policy that names ARNs then
denies everything. Here each service says which resource a call is about.
"""

import json
import re
import uuid

from moto import settings
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError, InvalidClientTokenIdError, SignatureDoesNotMatchError
from moto.ecr.responses import ECRResponse
from moto.iam.access_control import IAMPolicyStatement, IAMRequest
from moto.logs.responses import LogsResponse
from moto.secretsmanager.responses import SecretsManagerResponse
from moto.ssm.responses import SimpleSystemManagerResponse

from aws import denials, faults, record

OPERATOR = "operator"


def _body(response):
    try:
        return json.loads(response.body or "{}")
    except (TypeError, ValueError):
        return {}


def _arn(response, service, rest):
    return f"arn:aws:{service}:{response.region}:{response.current_account}:{rest}"


def parameter_arns(response):
    """SSM: every parameter or path that a call names."""
    body = _body(response)
    names = body.get("Names") or [body.get("Name") or body.get("Path")]
    return [
        name if name.startswith("arn:") else _arn(response, "ssm", f"parameter/{name.strip('/')}") for name in names if name
    ] or ["*"]


def secret_arn(response, name=None):
    """Secrets Manager: the secret that a call names. A batch is checked secret by secret."""
    name = name or _body(response).get("SecretId")
    if not name:
        return "*"
    if name.startswith("arn:"):
        return name
    try:
        return response.backend.describe_secret(name).arn
    except Exception:  # moto raises many kinds; a secret that is not there still has a name
        return _arn(response, "secretsmanager", f"secret:{name}-??????")


def log_group_arn(response):
    group = _body(response).get("logGroupName")
    return _arn(response, "logs", f"log-group:{group}:*") if group else "*"


def repository_arn(response):
    name = _body(response).get("repositoryName")
    return _arn(response, "ecr", f"repository/{name}") if name else "*"


def stack_arn(response):
    name = (response.querystring.get("StackName") or [""])[0]
    if not name or name.startswith("arn:"):
        return name or "*"
    return _arn(response, "cloudformation", f"stack/{name}/{uuid.uuid5(uuid.NAMESPACE_DNS, name)}")


def matches(pattern, text):
    """IAM's wildcards: `*` any run of characters, `?` exactly one."""
    translated = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(translated, text, re.DOTALL | re.IGNORECASE)


def iam_request(response, request_class):
    path = response.raw_path
    query = response.uri.partition("?")[2]
    try:
        return request_class(
            account_id=response.current_account,
            method=response.method,
            path=f"{path}?{query}" if query else path,
            data=response.data,
            body=response.raw_body or record.facts().get("form", b""),
            headers=response.headers,
            action=response._get_action(),
        )
    except InvalidClientTokenIdError as error:
        raise denials.in_protocol(response, error.code, error.error_type, error.message) from error


def permitted(request, resource):
    try:
        request.check_action_permitted(resource)
    except AccessDeniedError:
        return False
    return True


def is_operator(request):
    return request._access_key.arn.endswith(f":user/{OPERATOR}")


def authorize(faults_path):
    """The replacement of moto's check: signature, faults, then every resource of the call."""

    def check(self, request_class, resource="*"):
        if not self.headers.get("Authorization"):
            code = "MissingAuthenticationToken"
            raise denials.in_protocol(self, 403, code, "Missing Authentication Token")
        request = iam_request(self, request_class)
        service, action = request._action.split(":", 1)
        resources = resource if isinstance(resource, list) else [resource]
        principal = request._access_key.arn
        record.note(
            service=service,
            action=action,
            resource=" ".join(resources),
            principal=principal,
            role=principal.split("/")[1] if ":assumed-role/" in principal else "",
        )
        try:
            request.check_signature()
        except SignatureDoesNotMatchError as error:
            record.note(error=error.error_type)
            raise denials.in_protocol(self, 403, error.error_type, error.message) from error
        if is_operator(request):
            return
        fault = faults.matching(faults_path, request._action)
        if fault:
            faults.delay(fault)
            if "code" in fault:
                record.note(error=fault["code"])
                raise denials.in_protocol(self, fault.get("status", 500), fault["code"], fault.get("message", "a fault of the lab"))
        for one in resources:
            try:
                request.check_action_permitted(one)
            except AccessDeniedError as error:
                record.note(error="AccessDenied")
                message = (
                    f"User: {principal} is not authorized to perform: {request._action} on resource: {one} "
                    f"because no identity-based policy allows the {request._action} action"
                )
                raise denials.in_protocol(self, 403, error.error_type, message) from error
            except Exception:
                record.note(error="AccessDenied")
                raise

    return check


def batch_get_secret_value(original):
    """As AWS: a secret that may not be read is an entry in `Errors`, not the failure of the call."""

    def respond(self):
        request = iam_request(self, IAMRequest)
        request._action = "secretsmanager:GetSecretValue"
        wanted = self._get_param("SecretIdList", if_none=[])
        refused = [] if is_operator(request) else [name for name in wanted if not permitted(request, secret_arn(self, name))]
        if not refused:
            return original(self)
        allowed = [name for name in wanted if name not in refused]
        values, errors = [], []
        if allowed:
            values, errors, _ = self.backend.batch_get_secret_value(secret_id_list=allowed)
        for name in refused:
            errors.append(
                {
                    "SecretId": name,
                    "ErrorCode": "AccessDeniedException",
                    "Message": f"User: {request._access_key.arn} is not authorized to perform: "
                    f"secretsmanager:GetSecretValue on resource: {name}",
                }
            )
        return json.dumps({"SecretValues": values, "Errors": errors})

    return respond


def install(faults_path):
    """Put all of it in force, from the first call on."""
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    ActionAuthenticatorMixin._authenticate_and_authorize_action = authorize(faults_path)
    IAMPolicyStatement._match = staticmethod(matches)
    SimpleSystemManagerResponse._determine_resource = parameter_arns
    SecretsManagerResponse._determine_resource = secret_arn
    LogsResponse._determine_resource = log_group_arn
    ECRResponse._determine_resource = repository_arn
    CloudFormationResponse._determine_resource = stack_arn
    SecretsManagerResponse.batch_get_secret_value = batch_get_secret_value(SecretsManagerResponse.batch_get_secret_value)
