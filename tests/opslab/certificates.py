"""Two certificate authorities, made once: the public one that hosts trust, and that of RDS.

RDS signs with its own authority, which no operating system trusts: a client must bring the bundle.
"""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from opslab import addresses

PUBLIC, DATABASE = "public", "rds"
AUTHORITY_DAYS, CERTIFICATE_DAYS = 3650, 825


def directory():
    return addresses.STATE / "ca"


def authority_file(authority):
    """The certificate of an authority, PEM."""
    ensure_authority(authority)
    return directory() / f"{authority}.pem"


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ops lab"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key, days):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _write(base, key, certificate, chain=b""):
    base.parent.mkdir(parents=True, exist_ok=True)
    key_file = base.with_name(base.name + ".key")
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    base.with_name(base.name + ".pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + chain)


def ensure_authority(authority):
    base = directory() / authority
    if base.with_suffix(".pem").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"lab {authority} authority")
    certificate = (
        _builder(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    _write(base, key, certificate)


def ensure_certificate(part, authority, names):
    """A directory with certificate.pem and key.pem for these host names and addresses."""
    ensure_authority(authority)
    place = addresses.STATE / "tls" / part
    wanted = place / "names"
    if wanted.exists() and wanted.read_text().split() == names:
        return place
    issuer = x509.load_pem_x509_certificate((directory() / f"{authority}.pem").read_bytes())
    issuer_key = serialization.load_pem_private_key((directory() / f"{authority}.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(name)) if name.replace(".", "").isdigit() else x509.DNSName(name) for name in names
    ]
    certificate = (
        _builder(_name(names[0][:64]), issuer.subject, key, CERTIFICATE_DAYS)
        .add_extension(x509.SubjectAlternativeName(alternatives), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)
        .sign(issuer_key, hashes.SHA256())
    )
    _write(place / "certificate", key, certificate)
    (place / "certificate.key").rename(place / "key.pem")
    wanted.write_text("\n".join(names))
    return place
