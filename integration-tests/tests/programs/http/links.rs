//! Lasting links to one stream, and the requests of Home Assistant's integration `mjpeg` ("MJPEG IP Camera"): a GET of the stream, whose
//! boundary it reads from the Content-Type, and one of a still picture, both with HTTP Basic when it has a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanlight_tests::http::Site;
use tempfile::TempDir;

use super::access::Locked;

/// A relay with tokens and a file of links.
fn with_file() -> (TempDir, Locked) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("links");
    let locked = Locked::with(&format!("--http-links {}", file.display()));
    (folder, locked)
}

/// What `fanlight-relay link` prints, with the settings of the relay.
fn link(locked: &Locked, words: &str, code: i32) -> Vec<String> {
    let env = &locked.fixture.env;
    let asked = env
        .program("relay")
        .flag("http", locked.fixture.site.0.to_string())
        .flags("--http-access token")
        .flag("http-admin-token", env.path("admin"))
        .flags(&format!("link {words}"))
        .ends_with(code);
    let lines = asked.log().matching(0, "");
    let out = lines.into_iter().filter(|line| line.from == "out");
    out.map(|line| line.text).collect()
}

/// The path and query of an address that the program printed.
fn path(site: Site, address: &str) -> String {
    address.strip_prefix(&site.url("")).unwrap().to_owned()
}

#[test]
fn a_link_shows_one_stream_until_it_is_revoked_also_in_its_middle() {
    let (folder, locked) = with_file();
    let site = locked.fixture.site;
    let made = link(&locked, "add cam hall", 0);
    let [still, stream] = [&made[0], &made[1]].map(|address| path(site, address));
    assert_eq!(site.get(&still).status, 200);
    let mut parts = site.stream(&stream, &[]);
    parts.next_part().unwrap().expect("a picture comes");

    let secret = still.split_once("link=").unwrap().1;
    for closed in [
        "/snapshot/other.jpg",
        "/api/streams",
        "/api/links",
        "/metrics",
    ] {
        let status = site.get(&format!("{closed}?link={secret}")).status;
        assert_eq!(status, 401, "{closed}");
    }

    let kept = std::fs::read_to_string(folder.path().join("links")).unwrap();
    assert!(kept.contains(" cam hall") && !kept.contains(secret));
    assert_eq!(link(&locked, "list", 0), ["hall cam"]);
    assert!(
        link(&locked, "add cam hall", 1).is_empty(),
        "the name is taken"
    );

    assert!(link(&locked, "revoke hall", 0).is_empty());
    while let Ok(Some(_)) = parts.next_part() {}
    for address in [&still, &stream] {
        assert_eq!(site.get(address).status, 401);
    }
}

#[test]
fn a_link_that_another_relay_takes_out_of_the_file_is_revoked() {
    let (folder, locked) = with_file();
    let site = locked.fixture.site;
    let made = link(&locked, "add cam hall", 0);
    let mut parts = site.stream(&path(site, &made[1]), &[]);
    parts.next_part().unwrap().expect("a picture comes");
    std::fs::write(folder.path().join("links"), "").unwrap();
    while let Ok(Some(_)) = parts.next_part() {}
    assert_eq!(site.get(&path(site, &made[0])).status, 401);
}

#[test]
fn links_are_for_administrators() {
    let (_folder, locked) = with_file();
    let site = locked.fixture.site;
    let body = r#"{"name":"hall","stream":"cam"}"#;
    let ask = |method: &str, path: &str, token: &str, body: &str| {
        let header = format!("Bearer {token}");
        let headers = [
            ("Authorization", header.as_str()),
            ("Content-Type", "application/json"),
        ];
        let length = body.len().to_string();
        let headers = [&headers[..], &[("Content-Length", &length)]].concat();
        site.ask(method, path, &headers, body).status
    };

    assert_eq!(ask("POST", "/api/links", &locked.view, body), 403);
    assert_eq!(ask("GET", "/api/links", &locked.view, ""), 403);
    assert_eq!(ask("DELETE", "/api/links/hall", &locked.view, ""), 403);
    assert_eq!(ask("POST", "/api/links", &locked.admin, body), 201);
    assert_eq!(ask("POST", "/api/links", &locked.admin, body), 409);
    assert_eq!(ask("POST", "/api/links", &locked.admin, "{}"), 400);
    assert_eq!(ask("DELETE", "/api/links/hall", &locked.admin, ""), 204);
    assert_eq!(ask("DELETE", "/api/links/hall", &locked.admin, ""), 404);
}

#[test]
fn home_assistants_camera_gets_pictures_by_basic_and_by_link() {
    let (_folder, locked) = with_file();
    let site = locked.fixture.site;
    let basic = format!("Basic {}", STANDARD.encode(format!("ha:{}", locked.view)));
    let by_basic = [
        ("Authorization", basic.as_str()),
        (
            "User-Agent",
            "HomeAssistant/2026.11.1 aiohttp/3.12 Python/3.13",
        ),
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, deflate, br"),
    ];
    let made = link(&locked, "add cam hall", 0);
    let [by_link_still, by_link_stream] = [&made[0], &made[1]].map(|address| path(site, address));

    for (still, stream, headers) in [
        ("/snapshot/cam.jpg", "/stream/cam.mjpeg", &by_basic[..]),
        (&by_link_still, &by_link_stream, &by_basic[1..]),
    ] {
        let picture = site.ask("GET", still, headers, "");
        assert_eq!(picture.header("content-type"), "image/jpeg");
        assert!(picture.header("content-encoding").is_empty());
        assert!(picture.body.starts_with(&[0xff, 0xd8]));

        let mut parts = site.stream(stream, headers);
        for _ in 0..3 {
            let part = parts.next_part().unwrap().expect("pictures come");
            assert!(part.body.starts_with(&[0xff, 0xd8]));
        }
    }
}
