"""What the account holds: network, buckets, secrets, parameters, roles. Remade when moto forgot it."""

import json

from opslab import addresses, aws, certificates, hosts, progress

MASTER_USER = "ops_admin"
WAREHOUSE_USER = "warehouse"
WAREHOUSE_DATABASE = "warehouse"

SETTINGS = """\
# Settings of the SQLMesh server in the lab. Layers above this one: SSM parameters, then config.d on the host.

[scheduler]
interval_seconds = 60

[warehouse]
# The warehouse of the lab is a PostgreSQL: its variables have a name of their own.
env_prefix = "WAREHOUSE_"

[ui]
allow = ["172.22.0.0/16"]
"""


def arn(service, rest, region=addresses.REGION, account=addresses.ACCOUNT):
    return f"arn:aws:{service}:{region}:{account}:{rest}"


def policy(host):
    """What the role of a host may do: what its agent needs, and no more."""
    own = f"parameter/ops-vpc/{host.role}"
    artifacts = f"arn:aws:s3:::{addresses.ARTIFACTS}"
    releases = f"arn:aws:s3:::{addresses.RELEASES}"
    statements = [
        (
            ["ssm:GetParametersByPath", "ssm:GetParameter"],
            [arn("ssm", own), arn("ssm", f"{own}/*"), arn("ssm", f"parameter{addresses.RELEASE_PARAMETER}")],
        ),
        (["s3:ListBucket"], [artifacts, releases]),
        (["s3:GetObject"], [f"{artifacts}/config/*", f"{artifacts}/projects/*", f"{releases}/releases/*"]),
        (["secretsmanager:BatchGetSecretValue"], ["*"]),
        (["secretsmanager:GetSecretValue"], [arn("secretsmanager", f"secret:{name}-??????") for name in host.secrets]),
        (["ecr:GetAuthorizationToken"], ["*"]),
        (
            ["ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"],
            [arn("ecr", "repository/sqlmesh")],
        ),
        (["cloudformation:SignalResource"], [arn("cloudformation", f"stack/{host.stack}/*")]),
    ]
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resources} for actions, resources in statements],
    }


def secret_values():
    """The JSON of every secret, by name."""
    passwords = aws.remembered()["passwords"]
    return {
        addresses.STATE_SECRET: {
            "username": MASTER_USER,
            "password": passwords["aurora"],
            "engine": "postgres",
            "host": addresses.STATE_DATABASE_NAME,
            "port": 5432,
        },
        addresses.WAREHOUSE_SECRET: {
            "host": addresses.WAREHOUSE_NAME,
            "port": "5432",
            "user": WAREHOUSE_USER,
            "password": passwords["warehouse"],
            "database": WAREHOUSE_DATABASE,
        },
    }


def seeded():
    marker = addresses.STATE / "seeded"
    return marker.exists() and marker.read_text() == aws.generation()


def ensure():
    """Fill the account, unless this life of moto has been filled already."""
    if seeded():
        return
    progress.say("account", "seeding…")
    network()
    s3 = aws.client("s3")
    for bucket in (addresses.ARTIFACTS, addresses.RELEASES):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": addresses.REGION})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=addresses.ARTIFACTS, Key="config/sqlmesh-server.toml", Body=SETTINGS.encode())
    s3.put_object(
        Bucket=addresses.ARTIFACTS, Key="config/rds-ca.pem", Body=certificates.authority_file(certificates.DATABASE).read_bytes()
    )
    for name, value in secret_values().items():
        aws.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(value))
    put_parameter(f"{addresses.PARAMETERS}/database/host", addresses.STATE_DATABASE_NAME)
    aws.client("ecr").create_repository(repositoryName="sqlmesh")
    for host in hosts.ALL.values():
        role(host)
    (addresses.STATE / "seeded").write_text(aws.generation())
    progress.say("account", f"{addresses.ACCOUNT} seeded")


def put_parameter(name, value, kind="String"):
    aws.client("ssm").put_parameter(Name=name, Value=value, Type=kind, Overwrite=True)


def network():
    """The VPC and its subnets; their ids are looked up by name when an instance starts."""
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=addresses.VPC_CIDR)["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "ops-vpc"}])
    for name, cidr in addresses.SUBNETS.items():
        zone = "us-east-2b" if name == "data-2" else addresses.ZONE
        ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=cidr,
            AvailabilityZone=zone,
            TagSpecifications=[{"ResourceType": "subnet", "Tags": [{"Key": "Name", "Value": name}]}],
        )


def role(host):
    """The role of a host with its policy, and the instance profile that carries it."""
    iam = aws.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    iam.create_role(RoleName=host.iam_role, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=host.iam_role, PolicyName="agent", PolicyDocument=json.dumps(policy(host)))
    iam.create_instance_profile(InstanceProfileName=host.iam_role)
    iam.add_role_to_instance_profile(InstanceProfileName=host.iam_role, RoleName=host.iam_role)


def forget():
    """Make the next `ensure` seed again."""
    (addresses.STATE / "seeded").unlink(missing_ok=True)
