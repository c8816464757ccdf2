"""Names and addresses that the parts of the lab share; they mirror the production VPC."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Everything the lab keeps on this machine, docker's images and volumes apart.
STATE = pathlib.Path(os.environ.get("OPSLAB_STATE") or ROOT / "target" / "lab")

ACCOUNT = "123456789012"
REGION = "us-east-2"
ZONE = "us-east-2a"

NETWORK = "ops-lab"
VPC_CIDR = "172.22.0.0/16"
GATEWAY = "172.22.0.1"
RESOLVER = "172.22.0.2"
AWS = "172.22.0.10"
REGISTRY = "172.22.0.11"
STATE_DATABASE = "172.22.3.10"
WAREHOUSE = "172.22.4.10"

SUBNETS = {
    "public": "172.22.1.0/24",
    "private": "172.22.2.0/24",
    "data-1": "172.22.3.0/24",
    "data-2": "172.22.4.0/24",
}

AWS_ENDPOINT = f"http://{AWS}:5000"
REGISTRY_NAME = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
STATE_DATABASE_NAME = f"ops-sqlmesh-db.cluster-lab.{REGION}.rds.amazonaws.com"
WAREHOUSE_NAME = "warehouse.lab.internal"

ARTIFACTS = f"ops-vpc-sqlmesh-{ACCOUNT}"
RELEASES = f"ops-vpc-releases-{ACCOUNT}"
STATE_SECRET = "aurora-data-operations"
WAREHOUSE_SECRET = "snowflake-warehouse"

PARAMETERS = "/ops-vpc/sqlmesh-server"
IMAGE_PARAMETER = f"{PARAMETERS}/image/reference"
BUNDLE_PARAMETER = f"{PARAMETERS}/project/bundle"
RELEASE_PARAMETER = "/ops-vpc/agent/release"

UI_PORT = 8000


def container(part):
    """The docker name of a part of the lab."""
    return f"{NETWORK}-{part}"
