//! Who is let in, and how.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, throughout, until};
use serde_json::json;

use super::Fixture;

/// A fixture with both tokens, made by `keygen`.
pub(super) struct Locked {
    pub(super) fixture: Fixture,
    pub(super) view: String,
    pub(super) admin: String,
}

impl Locked {
    pub(super) fn new() -> Self {
        Self::with("")
    }

    pub(super) fn with(relay_flags: &str) -> Self {
        let env = TestEnv::new();
        let token = |name: &str| {
            let path = env.path(name);
            env.program("relay")
                .flags("keygen token")
                .flags(path.to_str().unwrap())
                .ends_with(0);

            (
                path.to_str().unwrap().to_owned(),
                std::fs::read_to_string(&path).unwrap().trim().to_owned(),
            )
        };

        let ((view_file, view), (admin_file, admin)) = (token("view"), token("admin"));
        assert!(view.len() == 44 && view != admin);
        let source = env
            .source("cam")
            .flags("--input ball --size 320x240 --rate 30")
            .ready();

        let flags = format!(
            "--http-access token --http-view-token {view_file} --http-admin-token {admin_file} --log trace {relay_flags}"
        );
        let relay = super::relay(&env, 0, &flags);
        let site = Site::of(&relay);
        until("the first picture has come", SOON, || {
            super::has_picture(&site).then_some(())
        });
        Self {
            fixture: Fixture {
                env,
                source,
                relay,
                site,
            },
            view,
            admin,
        }
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The cookie that an answer sets, as a client sends it back.
fn cookie(header: &str) -> String {
    header.split(';').next().unwrap().to_owned()
}

#[test]
fn without_a_token_only_the_page_and_the_state_of_the_relay_are_to_be_had() {
    let locked = Locked::new();
    let site = locked.fixture.site;

    for path in [
        "/api/streams",
        "/api/viewers",
        "/snapshot/cam.jpg",
        "/stream/cam.mjpeg",
        "/?action=snapshot",
        "/nothing",
    ] {
        for headers in [
            &[][..],
            &[("Authorization", "Bearer wrong-token-of-some-length")],
            &[("Authorization", "Basic eDp5")],
        ] {
            let answer = site.ask("GET", path, headers, "");
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (401, "token_needed"),
                "{path} {headers:?}"
            );
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }

    assert_eq!(site.socket("/ws", &[]).unwrap_err().status, 401);
    for path in ["/", "/livez", "/readyz", "/api/health", "/api/session"] {
        assert_eq!(site.get(path).status, 200, "{path}");
    }

    assert_eq!(
        site.get("/api/session").json(),
        json!({ "access": "token", "role": null })
    );
}

#[test]
fn a_token_in_the_header_lets_in_and_only_the_administrators_shows_addresses() {
    let locked = Locked::new();
    let site = locked.fixture.site;

    for (token, role, sees) in [
        (&locked.view, "view", false),
        (&locked.admin, "admin", true),
    ] {
        let header = bearer(token);
        let headers = [("Authorization", header.as_str())];
        assert_eq!(
            site.ask("GET", "/snapshot/cam.jpg", &headers, "").status,
            200
        );
        let mut socket = site.socket("/ws", &headers).unwrap();
        assert_eq!(socket.words("hello")["role"], role);
        socket.subscribe(1, "cam", None);
        socket.frame().unwrap();
        let viewers = site.ask("GET", "/api/viewers", &headers, "").json();
        assert_eq!(
            viewers["viewers"][0]["address"].is_string(),
            sees,
            "{viewers:#}"
        );
    }
}

#[test]
fn a_token_is_given_once_for_a_cookie_that_can_be_given_back() {
    let locked = Locked::new();
    let site = locked.fixture.site;
    let wrong = site.ask(
        "POST",
        "/api/session",
        &[],
        r#"{"token":"wrong-token-of-some-length"}"#,
    );

    assert_eq!(
        (
            wrong.status,
            wrong.error().as_str(),
            wrong.header("set-cookie")
        ),
        (401, "wrong_token", "")
    );

    for bad in ["", "{}", r#"{"token":5}"#, "nonsense"] {
        assert_eq!(
            site.ask("POST", "/api/session", &[], bad).status,
            400,
            "{bad}"
        );
    }

    let body = json!({ "token": locked.view }).to_string();
    let answer = site.ask("POST", "/api/session", &[], &body);
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "role": "view" }))
    );

    let set = answer.header("set-cookie");
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains(&locked.view),
        "{set}"
    );

    let shown = format!("other=1; {}; more=2", cookie(set));
    let headers = [("Cookie", shown.as_str())];
    assert_eq!(
        site.ask("GET", "/api/session", &headers, "").json()["role"],
        "view"
    );

    assert_eq!(
        site.ask("GET", "/snapshot/cam.jpg", &headers, "").status,
        200
    );

    site.socket("/ws", &headers).unwrap();
    let damaged = cookie(set).replace('.', "1.");
    assert_eq!(
        site.ask("GET", "/snapshot/cam.jpg", &[("Cookie", &damaged)], "")
            .status,
        401
    );

    let ended = site.ask("DELETE", "/api/session", &headers, "");
    assert_eq!(ended.status, 204);
    assert!(
        ended.header("set-cookie").contains("Max-Age=0"),
        "{:?}",
        ended.headers
    );
}

#[test]
fn after_signing_out_a_copied_cookie_opens_nothing_and_ends_what_it_opened() {
    let locked = Locked::new();
    let site = locked.fixture.site;
    let sign_in = || {
        let body = json!({ "token": locked.view }).to_string();
        cookie(
            site.ask("POST", "/api/session", &[], &body)
                .header("set-cookie"),
        )
    };

    let (copied, other) = (sign_in(), sign_in());
    let copied = [("Cookie", copied.as_str())];
    let other = [("Cookie", other.as_str())];
    let mut parts = site.stream("/stream/cam.mjpeg", &copied);
    parts.next_part().unwrap().unwrap();
    let mut socket = site.socket("/ws", &copied).unwrap();
    socket.subscribe(1, "cam", None);
    socket.frame().unwrap();

    assert_eq!(site.ask("DELETE", "/api/session", &copied, "").status, 204);
    assert_eq!(
        site.ask("GET", "/snapshot/cam.jpg", &copied, "").status,
        401
    );
    while parts.next_part().unwrap().is_some() {}
    until("the socket is closed", SOON, || {
        socket.credit(1);
        socket.frame().err()
    });
    assert_eq!(site.ask("GET", "/snapshot/cam.jpg", &other, "").status, 200);
}

#[test]
fn after_a_restart_a_cookie_that_was_signed_out_opens_nothing_and_others_do() {
    let Locked { fixture, view, .. } = Locked::new();
    let token = fixture.env.path("view").display().to_string();
    let state = fixture.env.path("state");
    std::fs::create_dir(&state).unwrap();
    let start = || {
        let launch = fixture.env.relay(1, &[fixture.env.ipc("cam")]);
        let http = format!("{}:0", fixture.env.relay_address(1).ip());
        let launch = launch.flag("http", http).env("STATE_DIRECTORY", &state);
        let launch = launch
            .flags("--http-access token")
            .flag("http-view-token", &token);
        launch.ready()
    };
    // Its name has the port in it, which is another one each time.
    let shown = |site: &Site, value: &str| {
        let url = site.url("");
        let port = url.rsplit(':').next().unwrap();
        let cookie = format!("fanlight-{port}={value}");
        site.ask("GET", "/api/streams", &[("Cookie", &cookie)], "")
            .status
    };

    let relay = start();
    let site = Site::of(&relay);
    let sign_in = || {
        let body = json!({ "token": view }).to_string();
        let answer = site.ask("POST", "/api/session", &[], &body);
        let cookie = cookie(answer.header("set-cookie"));
        cookie.split_once('=').unwrap().1.to_owned()
    };
    let (gone, other) = (sign_in(), sign_in());
    assert_eq!((shown(&site, &gone), shown(&site, &other)), (200, 200));
    let url = site.url("");
    let gone_cookie = format!("fanlight-{}={gone}", url.rsplit(':').next().unwrap());
    let headers = [("Cookie", gone_cookie.as_str())];
    assert_eq!(site.ask("DELETE", "/api/session", &headers, "").status, 204);
    relay.kill();

    let relay = start();
    let site = Site::of(&relay);
    assert_eq!((shown(&site, &gone), shown(&site, &other)), (401, 200));
}

#[test]
fn a_stream_and_a_socket_end_when_the_address_that_opened_them_expires() {
    let locked = Locked::new();
    let site = locked.fixture.site;
    let header = bearer(&locked.view);
    let headers = [("Authorization", header.as_str())];
    let sign = |path: &str| {
        let body = json!({ "path": path, "seconds": 3 }).to_string();
        let answer = site.ask("POST", "/api/sign", &headers, &body).json();
        answer["url"].as_str().unwrap().to_owned()
    };

    // On a slow machine it has expired before it is used: then there is another.
    until("a stream ends by itself", SOON, || {
        let (mut answer, mut rest) = site
            .begin("GET", &sign("/stream/cam.mjpeg"), &[], "")
            .unwrap();
        rest.read_body(&mut answer).unwrap();
        let pictures = answer
            .body
            .windows(3)
            .filter(|bytes| bytes == b"\xff\xd8\xff");
        (answer.status == 200 && pictures.count() > 0).then_some(())
    });

    until("a socket ends by itself", SOON, || {
        let mut socket = site.socket(&sign("/ws"), &[]).ok()?;
        socket.subscribe(1, "cam", None);
        socket.frame().ok()?;
        until("it ends", SOON, || {
            socket.credit(1);
            socket.frame().err()
        });
        Some(())
    });
}

/// What a client that knows HTTP Basic alone sends.
fn basic(user: &str, token: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{user}:{token}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {encoded}")
}

#[test]
fn the_password_of_http_basic_is_a_token_and_its_user_is_free() {
    let locked = Locked::new();
    let site = locked.fixture.site;
    let role = |field: &str| {
        let headers = [("Authorization", field)];
        site.ask("GET", "/api/session", &headers, "").json()["role"].clone()
    };

    for user in ["", "homeassistant", "view"] {
        assert_eq!(role(&basic(user, &locked.view)), "view", "{user}");
        assert_eq!(role(&basic(user, &locked.admin)), "admin", "{user}");
    }
    assert!(role(&basic("view", "wrong-token-of-some-length")).is_null());
    assert!(role("Basic %").is_null());

    let offers = |headers: &[(&str, &str)]| {
        let answer = site.ask("GET", "/snapshot/cam.jpg", headers, "");
        assert_eq!(answer.status, 401);
        let offered = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("www-authenticate") && value.starts_with("Basic ")
        };
        answer.headers.iter().any(offered)
    };
    assert!(offers(&[]), "players wait to be asked");
    assert!(!offers(&[("User-Agent", "Mozilla/5.0")]));
    assert!(!offers(&[("Sec-Fetch-Mode", "cors")]));
}

#[test]
fn http_basic_from_another_host_takes_https_or_the_word_that_it_needs_none() {
    for (plain, status) in [("false", 403), ("true", 200)] {
        let locked = Locked::with(&format!(
            "--http-proxies 127.0.0.1 --http-basic-plain {plain}"
        ));
        let field = basic("", &locked.view);
        let ask = |scheme: &str| {
            let headers = [
                ("Authorization", field.as_str()),
                ("X-Forwarded-For", "192.0.2.7"),
                ("X-Forwarded-Proto", scheme),
            ];
            locked
                .fixture
                .site
                .ask("GET", "/snapshot/cam.jpg", &headers, "")
        };

        assert_eq!(ask("https").status, 200);
        let answer = ask("http");
        assert_eq!(answer.status, status, "{plain}");
        if status == 403 {
            assert_eq!(answer.error(), "basic_needs_https");
        }
    }
}

#[test]
fn a_signed_address_is_good_for_itself_until_it_expires() {
    let locked = Locked::new();
    let site = locked.fixture.site;
    let header = bearer(&locked.view);
    let headers = [("Authorization", header.as_str())];
    let sign = |path: &str, seconds: u64| {
        let body = json!({ "path": path, "seconds": seconds }).to_string();
        site.ask("POST", "/api/sign", &headers, &body)
    };

    let long = sign("/snapshot/cam.jpg", 600).json()["url"]
        .as_str()
        .unwrap()
        .to_owned();

    assert_eq!(site.get(&long).status, 200);
    assert_eq!(
        site.get(&format!("{long}&wait=1")).status,
        200,
        "other parameters are the client's"
    );

    assert_eq!(site.get(&long.replace("cam.jpg", "cam.jpeg")).status, 401);
    assert_eq!(
        site.get(&long.replace("expires=1", "expires=2")).status,
        401
    );

    let stream = sign("/stream/cam.mjpeg", 600).json()["url"]
        .as_str()
        .unwrap()
        .to_owned();

    site.stream(&stream, &[]).next_part().unwrap().unwrap();
    let socket = sign("/ws", 600).json()["url"].as_str().unwrap().to_owned();
    assert_eq!(
        site.socket(&socket, &[]).unwrap().words("hello")["role"],
        "view"
    );

    let short = sign("/snapshot/cam.jpg", 1).json()["url"]
        .as_str()
        .unwrap()
        .to_owned();

    until("it expires", SOON, || {
        (site.get(&short).status == 401).then_some(())
    });

    for (path, seconds) in [
        ("/api/viewers", 5),
        ("snapshot/cam.jpg", 5),
        ("/ws?x=1", 5),
        ("/ws", 0),
        ("/ws", 10_000_000),
    ] {
        assert_eq!(sign(path, seconds).status, 400, "{path} {seconds}");
    }

    assert_eq!(
        site.ask("POST", "/api/sign", &[], r#"{"path":"/ws"}"#)
            .status,
        401,
        "signing takes a token"
    );
}

#[test]
fn neither_tokens_nor_signatures_nor_cookies_are_logged() {
    let locked = Locked::new();
    let site = locked.fixture.site;
    let header = bearer(&locked.view);
    let url = site
        .ask(
            "POST",
            "/api/sign",
            &[("Authorization", &header)],
            r#"{"path":"/snapshot/cam.jpg"}"#,
        )
        .json()["url"]
        .as_str()
        .unwrap()
        .to_owned();

    let (_, signature) = url.split_once("signature=").unwrap();
    assert_eq!(site.get(&url).status, 200);
    let body = json!({ "token": locked.admin }).to_string();
    let set = site
        .ask("POST", "/api/session", &[], &body)
        .header("set-cookie")
        .to_owned();

    let baked = cookie(&set);
    assert_eq!(
        site.get("/snapshot/cam.jpg?secret=in-the-query").status,
        401
    );

    let log = &locked.fixture.relay;
    log.stop();

    for secret in [
        &locked.view,
        &locked.admin,
        signature,
        baked.split_once('=').unwrap().1,
        "in-the-query",
    ] {
        let lines = log.log().matching(0, secret);
        assert!(lines.is_empty(), "{lines:?}");
    }
}

#[test]
fn one_token_for_both_roles_is_refused() {
    let env = TestEnv::new();
    let path = env.path("token");
    let path = path.to_str().unwrap();
    env.program("relay")
        .flags("keygen token")
        .flags(path)
        .ends_with(0);

    let flags = format!(
        "--http 127.0.0.1:0 --http-access token --http-view-token {path} --http-admin-token {path}"
    );
    env.relay(0, &[env.ipc("cam")])
        .flags(&flags)
        .ends_with(1)
        .wait_for_line("hold the same token");
}

#[test]
fn in_open_access_everybody_may_watch_and_the_token_makes_an_administrator() {
    let env = TestEnv::new();
    let path = env.path("admin");
    env.program("relay")
        .flags("keygen token")
        .flags(path.to_str().unwrap())
        .ends_with(0);

    let token = std::fs::read_to_string(&path).unwrap();
    let fixture = Fixture::new(&format!(
        "--http-access open --http-admin-token {}",
        path.display()
    ));

    let role = |headers: &[(&str, &str)]| {
        fixture.site.ask("GET", "/api/session", headers, "").json()["role"].clone()
    };

    assert_eq!(role(&[]), "view");
    assert_eq!(role(&[("Authorization", &bearer(token.trim()))]), "admin");
    let elsewhere = fixture.site.ask(
        "GET",
        "/snapshot/cam.jpg",
        &[("Host", "192.0.2.7:8080")],
        "",
    );

    assert_eq!(
        (
            elsewhere.status,
            elsewhere.header("cross-origin-resource-policy")
        ),
        (200, "cross-origin")
    );
}

#[test]
fn an_open_relay_is_read_by_its_own_names_and_addresses_alone() {
    let fixture = Fixture::new("--http-access open --http-names cams.lan");
    let by = |host: &str| {
        let headers = [("Host", host)];
        fixture.site.ask("GET", "/snapshot/cam.jpg", &headers, "")
    };

    for host in [
        "cams.lan:8080",
        "192.0.2.7",
        "[2001:db8::7]:80",
        "localhost",
    ] {
        assert_eq!(by(host).status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "cams.lan.evil.example",
        "[::1].evil.example",
    ] {
        let answer = by(host);
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (403, "wrong_host"),
            "{host}"
        );
    }
}

#[test]
fn an_image_on_a_page_of_another_site_wakes_no_sleeping_camera() {
    let flags = "--input ball --size 320x240 --rate 30 --idle close --idle-after 1s";
    let fixture = Fixture::of(flags, "--http-access open");
    let lines = |state: &str| {
        let text = format!("state=\"{state}\"");
        fixture.source.log().matching(0, &text).len()
    };
    fixture.source.wait_for_line("state=\"idle\"");
    let woken = lines("live");

    let foreign = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "no-cors"),
    ];
    let ask = |path: &str, headers: &[(&str, &str)]| fixture.site.ask("GET", path, headers, "");
    until("the relay knows that it sleeps", SOON, || {
        (fixture.stream()["state"] == "idle").then_some(())
    });
    until("a stream of it is refused", SOON, || {
        let (answer, _) = fixture
            .site
            .begin("GET", "/stream/cam.mjpeg", &foreign, "")
            .unwrap();
        (answer.status == 403).then_some(())
    });
    assert_eq!(ask("/snapshot/cam.jpg?max_age=0", &foreign).status, 503);
    for path in ["max_age=1000", "max_age=1000&wait=1"] {
        let path = format!("/snapshot/cam.jpg?{path}");
        assert_eq!(ask(&path, &foreign).status, 200, "what is there: {path}");
    }
    throughout(Duration::from_secs(1), Duration::from_millis(50), || {
        assert_eq!(lines("live"), woken);
    });

    until("its own page wakes it", SOON, || {
        let own = [("Sec-Fetch-Site", "same-origin")];
        (ask("/snapshot/cam.jpg?wait=1", &own).status == 200).then_some(())
    });
}

#[test]
fn pages_of_others_neither_open_sockets_nor_read_through_a_name_of_their_own() {
    let fixture = Fixture::new("--http-origins https://wall.example");
    let site = fixture.site;
    let own = format!("http://{}", site.0);

    for (origin, allowed) in [
        (own.as_str(), true),
        ("https://wall.example", true),
        ("http://evil.example", false),
        ("https://wall.example.evil", false),
        ("null", false),
        ("", false),
    ] {
        let opened = site.socket("/ws", &[("Origin", origin)]);
        assert_eq!(opened.is_ok(), allowed, "{origin}");
        if let Err(answer) = opened {
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (403, "wrong_origin")
            );
        }

        let post = site.ask(
            "POST",
            "/api/sign",
            &[("Origin", origin)],
            r#"{"path":"/ws"}"#,
        );
        assert_eq!(post.status, if allowed { 200 } else { 403 }, "{origin}");
    }

    for (host, status) in [
        ("localhost:80", 200),
        ("wall.example", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ] {
        assert_eq!(
            site.ask("GET", "/api/streams", &[("Host", host)], "")
                .status,
            status,
            "{host}"
        );
    }
}

/// A certificate for `localhost` and its key, made by openssl.
pub(crate) fn certificate(folder: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let certificate = folder.join(format!("{name}.crt"));
    let key = folder.join(format!("{name}.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();

    match made {
        Ok(output) if output.status.success() => {
            std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
            Some((certificate, key))
        }
        _ => {
            fanlight_tests::skip("no openssl to make certificates with");
            None
        }
    }
}

/// What curl gets from `path` over https, trusting `certificate` alone.
fn fetched(site: Site, certificate: &Path, path: &str) -> Option<Vec<u8>> {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "10", "--cacert"])
        .arg(certificate)
        .args([
            "--resolve",
            &format!("localhost:{}:{}", site.0.port(), site.0.ip()),
        ])
        .arg(format!("https://localhost:{}{path}", site.0.port()))
        .output()
        .unwrap();

    output.status.success().then_some(output.stdout)
}

#[test]
fn a_certificate_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let env = TestEnv::new();
    let Some((first, first_key)) = certificate(env.directory(), "first") else {
        return;
    };

    let Some((second, second_key)) = certificate(env.directory(), "second") else {
        return;
    };

    let (used, used_key) = (env.path("used.crt"), env.path("used.pem"));
    let take = |certificate: &Path, key: &Path| {
        std::fs::copy(key, &used_key).unwrap();
        std::fs::copy(certificate, &used).unwrap();
    };

    take(&first, &first_key);
    let flags = format!(
        "--http-certificate {} --http-key {}",
        used.display(),
        used_key.display()
    );

    let fixture = Fixture::secure(&flags, |site| fetched(site, &first, "/readyz").is_some());
    let site = fixture.site;
    super::assert_picture(
        &fetched(site, &first, "/snapshot/cam.jpg").unwrap(),
        320,
        240,
    );

    assert!(
        fetched(site, &second, "/readyz").is_none(),
        "another certificate is not trusted"
    );

    std::fs::write(&used, "nonsense").unwrap();
    fixture
        .relay
        .wait_for_line("the certificate has changed and is not used");
    assert!(fetched(site, &first, "/readyz").is_some());
    take(&second, &second_key);
    until("the new certificate is used", SOON, || {
        fetched(site, &second, "/readyz").map(drop)
    });

    // Who speaks plain HTTP gets nothing, and does no harm.
    site.begin("GET", "/readyz", &[], "").unwrap_err();
    assert!(fetched(site, &second, "/readyz").is_some());
}

#[test]
fn certificates_that_cannot_be_used_are_refused_at_the_start() {
    let env = TestEnv::new();
    let Some((first, first_key)) = certificate(env.directory(), "first") else {
        return;
    };

    let Some((_, second_key)) = certificate(env.directory(), "second") else {
        return;
    };

    let refused = |certificate: &Path, key: &Path| -> Program {
        let files = [certificate, key].map(|path| path.to_str().unwrap().to_owned());
        let flags = format!(
            "--http 127.0.0.1:0 --http-certificate {} --http-key {}",
            files[0], files[1]
        );
        env.relay(0, &[env.ipc("cam")]).flags(&flags).ends_with(1)
    };

    refused(&first, &second_key).wait_for_line("and its key cannot be used");
    refused(&first_key, &first_key).wait_for_line("holds no certificate in PEM");
    refused(&env.path("none"), &first_key).wait_for_line("cannot read the certificate");
    std::fs::set_permissions(
        &first_key,
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();

    refused(&first, &first_key).wait_for_line("is open to others");
}
