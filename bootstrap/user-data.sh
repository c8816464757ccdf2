#!/bin/bash
# Brings ops-agent onto this instance: fetch the installer that SSM names, check it, run it. The same for every agent.
set -Eeuo pipefail; umask 022; cd "$(mktemp -d)"; exec 2>errors; step='read release: '
export AWS_DEFAULT_REGION=${AWS::Region} AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=5 AWS_METADATA_SERVICE_NUM_ATTEMPTS=5
imds() { curl -fsS -m 5 --retry 5 --noproxy '*' "$@"; }
finish() { # a failure is one line on console and in the journal; in the stack event the signal's id, 64 characters
  code=$?; [ $code != 0 ] || exit 0; set +e
  reason=$step$(grep -a . errors | tail -n 1 | sed 's/.*An error occurred //' | tr -cd '[:print:]')
  echo "ops-agent: boot failed: $reason" | systemd-cat -t ops-agent -p err
  [ ! -w /dev/console ] || echo "ops-agent: boot failed: $reason" >/dev/console
  token=$(imds -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
  id=$(imds -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/instance-id) || id=unknown
  aws cloudformation signal-resource --stack-name ${AWS::StackName} --logical-resource-id ${Resource} --status FAILURE \
    --unique-id "$(printf %.64s "$id $reason")" 2>&1 | systemd-cat -t ops-agent -p err; exit $code
}; trap finish EXIT
read -r _ key sha256 < <(aws ssm get-parameter --name /ops-vpc/agent/release --query Parameter.Value --output text)
step="get installer: "; aws s3 cp --only-show-errors "s3://${ReleaseBucket}/$key" install.sh
step="check installer: "; [ "$(sha256sum <install.sh)" = "$sha256  -" ] || { echo "SHA-256 differs from SSM" >&2; exit 1; }
step=''; bash install.sh --from "s3://${ReleaseBucket}/$(dirname "$key")" --role ${Role} --bucket ${ArtifactBucket} \
  --region ${AWS::Region} --stack ${AWS::StackName} --resource ${Resource}
