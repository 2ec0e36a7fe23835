//! How this program says who asks: Basic (RFC 7617) and Digest (RFC 7616). No I/O.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanlight_daemon::digest_auth::{Algorithm, Request, parameter};

/// The count of requests with a server's number: it is used once.
const COUNT: &str = "00000001";

/// The field `Authorization` that answers one of `challenges`, Digest before Basic; none when none of them is known.
/// `client` is a number that was not used before.
pub(super) fn answer(
    challenges: &[String],
    (user, password): (&str, &str),
    uri: &str,
    client: &str,
) -> Option<String> {
    let digest = challenges
        .iter()
        .filter_map(|challenge| parameters(challenge, "digest"))
        .find_map(|challenge| digest(challenge, (user, password), uri, client));
    digest.or_else(|| {
        challenges
            .iter()
            .find_map(|challenge| parameters(challenge, "basic"))?;
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {encoded}"))
    })
}

/// What stands behind the name of a scheme, which is the first or a later one of a field.
fn parameters<'a>(challenge: &'a str, scheme: &str) -> Option<&'a str> {
    let lower = challenge.to_ascii_lowercase();
    let at = lower
        .match_indices(scheme)
        .map(|(at, _)| at)
        .find(|&at| at == 0 || matches!(lower.as_bytes()[at - 1], b' ' | b','))?;
    let rest = &challenge[at + scheme.len()..];
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

fn digest(
    challenge: &str,
    (user, password): (&str, &str),
    uri: &str,
    client: &str,
) -> Option<String> {
    let named = parameter(challenge, "algorithm");
    let algorithm = match named.unwrap_or("MD5").to_ascii_uppercase().as_str() {
        "MD5" => Algorithm::Md5,
        "SHA-256" => Algorithm::Sha256,
        _ => return None,
    };

    let realm = parameter(challenge, "realm").unwrap_or_default();
    let nonce = parameter(challenge, "nonce")?;
    let offered = parameter(challenge, "qop");
    let auth = offered.map(|all| all.split(',').any(|one| one.trim() == "auth"));
    let protection = match auth {
        None => None,
        Some(true) => Some(("auth", COUNT, client)),
        Some(false) => return None,
    };

    let request = Request {
        algorithm,
        user,
        realm,
        nonce,
        method: "GET",
        uri,
        protection,
    };
    let response = request.response(password);
    let user = user.replace(['\\', '"'], "");
    let mut field = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\""
    );
    if let Some(named) = named {
        field += &format!(", algorithm={named}");
    }
    if let Some(opaque) = parameter(challenge, "opaque") {
        field += &format!(", opaque=\"{opaque}\"");
    }
    if protection.is_some() {
        field += &format!(", qop=auth, nc={COUNT}, cnonce=\"{client}\"");
    }
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(challenges: &[&str]) -> Option<String> {
        let challenges: Vec<_> = challenges.iter().map(|it| (*it).to_owned()).collect();
        answer(&challenges, ("me", "secret"), "/x?y", "c1")
    }

    #[test]
    fn basic_is_answered_as_rfc_7617_has_it() {
        for challenge in ["Basic realm=\"a\"", "basic", "Negotiate, Basic realm=a"] {
            let field = asked(&[challenge]);
            assert_eq!(field.as_deref(), Some("Basic bWU6c2VjcmV0"), "{challenge}");
        }
    }

    #[test]
    fn digest_goes_before_basic_and_proves_the_password_without_telling_it() {
        let digest = "Digest realm=\"cam\", nonce=\"n1\", qop=\"auth,auth-int\", opaque=\"o\"";
        let field = asked(&["Basic realm=\"a\"", digest]).unwrap();
        let expected = Request {
            algorithm: Algorithm::Md5,
            user: "me",
            realm: "cam",
            nonce: "n1",
            method: "GET",
            uri: "/x?y",
            protection: Some(("auth", COUNT, "c1")),
        };
        let response = expected.response("secret");
        assert_eq!(parameter(&field, "response"), Some(response.as_str()));
        assert_eq!(parameter(&field, "opaque"), Some("o"));
        assert_eq!(parameter(&field, "uri"), Some("/x?y"));
        assert!(field.starts_with("Digest ") && !field.contains("secret"));
    }

    #[test]
    fn a_camera_of_before_qop_gets_the_old_response() {
        let field = asked(&["Digest realm=\"cam\", nonce=\"n1\""]).unwrap();
        assert!(
            !field.contains("qop") && !field.contains("algorithm"),
            "{field}"
        );
    }

    #[test]
    fn what_is_not_known_is_not_answered() {
        for challenge in [
            "Bearer",
            "Digest realm=\"a\", nonce=\"n\", algorithm=SHA-512-256",
            "Digest realm=\"a\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"a\"",
            "NotBasic realm=\"a\"",
            "",
        ] {
            assert_eq!(asked(&[challenge]), None, "{challenge}");
        }
    }
}
