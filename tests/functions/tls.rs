//! `tls-self-signed`: certificates that openssl and Python serve and trust.

use std::process::{Command, Stdio};

use crate::call::Function;
use crate::secret::Values;
use crate::services::program;

/// A server and a client of Python's, which trusts the certificate alone and looks at the name of the host. $1 is a file with key
/// and certificate, $2 the name. It prints what the client read of the certificate.
const SHAKE_HANDS: &str = r#"
import socket, ssl, sys, threading
pem, name = sys.argv[1:]
server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
server.load_cert_chain(pem)
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    with server.wrap_socket(listener.accept()[0], server_side=True) as tls:
        tls.sendall(b"hello")
threading.Thread(target=serve, daemon=True).start()
client = ssl.create_default_context(cafile=pem)
with client.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname=name) as tls:
    assert tls.recv(5) == b"hello"
    print(tls.getpeercert()["subjectAltName"])
"#;

/// Prints a key and a certificate that was valid until yesterday.
const EXPIRED: &str = r#"
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from datetime import datetime, timedelta
key = Ed25519PrivateKey.generate()
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old.example")])
days = [datetime.utcnow() - timedelta(days) for days in (3, 1)]
builder = x509.CertificateBuilder(name, name, key.public_key(), 1, *days)
form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
print(key.private_bytes(serialization.Encoding.PEM, *form).decode(), end="")
print(builder.sign(key, None).public_bytes(serialization.Encoding.PEM).decode(), end="")
"#;

/// What Python's client says of `pem` at `host`.
fn shakes_hands(pem: &[u8], host: &str) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let mut python = Command::new(program("python3"));
    let output = python.args(["-c", SHAKE_HANDS]).arg(file.path()).arg(host).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Key and certificate of a value.
fn pem(value: &[u8], form: &str) -> Vec<u8> {
    if form == "pem" {
        return value.to_vec();
    }
    ["tls.key", "tls.crt"].map(|name| Values::member(value, name)).concat().into_bytes()
}

pub fn function(form: &str) -> Function {
    let mut function = Function::shipped("tls-self-signed").with("FORM", form);
    if form == "pem" {
        function.declaration.output = crate::declaration::Output::Value;
    }
    function
}

#[test]
fn a_server_and_a_client_take_what_it_makes() {
    let cases = [
        ("members", "ec:prime256v1"),
        ("members", "ec:secp384r1"),
        ("members", "rsa:2048"),
        ("members", "ed25519"),
        ("pem", "ec:prime256v1"),
    ];
    for (form, key_type) in cases {
        let function = function(form).with("KEY_TYPE", key_type);
        let mut values = Values::of(r#"{"host":"db","tls.key":"none"}"#);
        values.create(&function);
        for step in ["set", "test", "test", "finish"] {
            assert_eq!(function.done(step, &values), "", "{step}");
        }
        let pem = pem(&values.new, form);
        assert_eq!(shakes_hands(&pem, "web.example").unwrap(), "(('DNS', 'web.example'),)\n", "{form} {key_type}");
        assert!(shakes_hands(&pem, "other.example").unwrap_err().contains("Hostname mismatch"));
        if form == "members" {
            assert_eq!(Values::member(&values.new, "host"), "db", "it is kept");
        }
    }
}

#[test]
fn names_and_days_are_the_operators() {
    let names = "DNS:db.example,DNS:*.db.example,IP:127.0.0.1";
    let function =
        function("pem").with("SUBJECT", "/O=Example, Inc./CN=db.example").with("SAN", names).with("DAYS", "3");
    let mut values = Values::of("none");
    values.create(&function);
    function.done("test", &values);
    let expected = "(('DNS', 'db.example'), ('DNS', '*.db.example'), ('IP Address', '127.0.0.1'))\n";
    for host in ["db.example", "one.db.example", "127.0.0.1"] {
        assert_eq!(shakes_hands(&values.new, host).unwrap(), expected, "{host}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &values.new).unwrap();
    let valid = |seconds: &str| {
        let mut openssl = Command::new(program("openssl"));
        openssl
            .args(["x509", "-noout", "-checkend", seconds, "-in"])
            .arg(file.path())
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(valid("259000") && !valid("259300"), "three days have 259,200 seconds");
}

#[test]
fn what_does_not_serve_is_refused() {
    let mut values = Values::of("none");
    let function = function("pem");
    values.create(&function);
    let mut other = Values::of("none");
    other.create(&function);
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let certificate = |value: &[u8]| {
        let text = text(value);
        text[text.find("-----BEGIN CERTIFICATE").unwrap()..].to_owned()
    };
    let key = |value: &[u8]| text(value).replace(&certificate(value), "");
    let new = |new: String| Values { new: new.into_bytes(), ..values.clone() };
    let mixed = key(&values.new) + &certificate(&other.new);
    function.fails("test", &new(mixed), 1, "do not belong together");
    function.fails("test", &new(key(&values.new)), 78, "no certificate");
    function.fails("test", &new(certificate(&values.new)), 78, "no private key");
    function.fails("test", &new("'\"\\ $(id)\n\u{1f511}".to_owned()), 78, "no certificate");
    let members = super::tls::function("members");
    for odd in ["", "text", "{}", "[]", r#"{"tls.key":"a"}"#, r#"{"tls.key":1,"tls.crt":2}"#] {
        members.fails("test", &new(odd.to_owned()), 78, "");
    }
    let old = Command::new(program("python3")).args(["-c", EXPIRED]).stdin(Stdio::null()).output().unwrap();
    assert!(old.status.success(), "{old:?}");
    function.fails("test", &new(text(&old.stdout)), 1, "certificate has expired");
}

#[test]
fn what_is_configured_wrongly_is_not_tried_again() {
    for (name, value) in [
        ("FORM", "der"),
        ("DAYS", "0"),
        ("DAYS", "3651"),
        ("DAYS", "90d"),
        ("KEY_TYPE", "dsa"),
        ("KEY_TYPE", "ec:nothing"),
        ("SAN", "nonsense"),
        ("SUBJECT", "CN=no slash"),
    ] {
        Function::shipped("tls-self-signed").with(name, value).fails("create", &Values::of("none"), 78, name);
    }
    // The owner of a secret chooses its name: it gets no other part of a subject by it.
    for secret in ["prod/web+O=Example", "prod/a=b", "prod/who@example", "prod/a_b"] {
        let function = Function::shipped("tls-self-signed").rotating(secret);
        function.fails("create", &Values::of("none"), 78, "set SUBJECT");
        function.with("SUBJECT", "/CN=db.example").done("create", &Values::of("none"));
    }
}
