//! One connection of a client: its requests, and the session that it sets up. A session ends with its connection.

use std::fmt::Write as _;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use fanlight_daemon::clock;
use fanlight_live::access::Grant;
use fanlight_live::{Arrival, FrameSubscription, Subscribe};
use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::auth::{challenges, nonce};
use crate::multicast::Groups;
use crate::request::{MAX_BYTES, Parsed, Request, Ways, Wish, parse, transport};
use crate::response::{Refusal, Response, refuse};
use crate::session::{Event, Session, Transport, UdpPair};
use crate::{App, RTSP};

/// A session without a sign of life ends, in seconds: clients are told so.
const SESSION_TIMEOUT_S: u64 = 60;

/// A connection without session and without requests ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a camera may take to wake and give a picture.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(5);

/// Copies of a frame that a connection holds: the picture, and what of it is written.
const COPIES: usize = 2;

/// Wrong passwords on one connection.
const MAX_FAILURES: u32 = 5;

const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER";

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: IpAddr,
    /// It is by TLS.
    pub(crate) secure: bool,
}

/// The connection is to end.
struct Ended;

struct Connection<'a> {
    app: &'a Arc<App>,
    ends: Ends,
    nonce: String,
    /// What lets the client in.
    grant: Option<Grant>,
    failures: u32,
    /// Keeps the camera awake between DESCRIBE and SETUP.
    subscription: Option<FrameSubscription>,
    session: Option<Session>,
    /// What is to be sent; the first `sent` bytes have left.
    out: Vec<u8>,
    sent: usize,
    heard: Time,
    progress: Time,
}

/// Serves a connection until it ends.
pub(crate) async fn serve_connection<S>(app: &Arc<App>, stream: S, ends: Ends)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Connection::new(app, ends).serve(stream).await;
}

impl<'a> Connection<'a> {
    fn new(app: &'a Arc<App>, ends: Ends) -> Self {
        Self {
            app,
            ends,
            nonce: nonce(),
            grant: None,
            failures: 0,
            subscription: None,
            session: None,
            out: Vec::new(),
            sent: 0,
            heard: clock::now(),
            progress: clock::now(),
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: S) {
        self.run(stream).await;

        if let Some(session) = &self.session {
            session.report(true, &mut Vec::new()).await;
            tracing::info!(stream = %session.subscription.stream(), "RTSP session ended");
        }
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: S) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut input = BytesMut::with_capacity(MAX_BYTES);

        loop {
            let left = self.deadline().saturating_since(clock::now());
            let idle = self.out.is_empty();
            let (out, session) = (&self.out[self.sent..], &mut self.session);
            let grant = self.grant.clone();
            let over = async {
                match &grant {
                    Some(grant) => grant.over().await,
                    None => pending().await,
                }
            };
            let media = async {
                match session {
                    Some(session) => session.event(idle).await,
                    None => pending().await,
                }
            };

            // What a client asks is read when it has taken what it got: it cannot make answers pile up.
            let ended = tokio::select! {
                read = reader.read_buf(&mut input), if idle => match read {
                    Ok(1..) => self.on_input(&mut input).await,
                    _ => Err(Ended),
                },
                wrote = writer.write(out), if !idle => match wrote {
                    Ok(count @ 1..) => {
                        self.on_written(count);
                        if self.out.is_empty() && writer.flush().await.is_err() { Err(Ended) } else { Ok(()) }
                    }
                    _ => Err(Ended),
                },
                event = media => self.on_event(event).await,
                () = over => Err(Ended),
                () = tokio::time::sleep(left) => Err(Ended),
            };

            if ended.is_err() {
                // The last answer, or the goodbye.
                let _ = timeout(
                    Duration::from_millis(200),
                    writer.write_all(&self.out[self.sent..]),
                )
                .await;
                let _ = timeout(Duration::from_millis(200), writer.shutdown()).await;
                return;
            }
        }
    }

    /// When the connection ends unless something happens before.
    fn deadline(&self) -> Time {
        if !self.out.is_empty() {
            return self.progress + WRITE_TIMEOUT;
        }
        match &self.session {
            // A client that takes what it is sent is alive.
            Some(session)
                if session.playing && matches!(session.transport, Transport::Interleaved(..)) =>
            {
                self.heard.max(self.progress) + Duration::from_secs(SESSION_TIMEOUT_S)
            }
            Some(_) => self.heard + Duration::from_secs(SESSION_TIMEOUT_S),
            None => self.heard + IDLE_TIMEOUT,
        }
    }

    fn on_written(&mut self, count: usize) {
        self.progress = clock::now();
        self.sent += count;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
    }

    async fn on_event(&mut self, event: Event) -> Result<(), Ended> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        match event {
            Event::Heard => self.heard = clock::now(),
            Event::Burst => session.burst().await,
            Event::Frame(None) => {
                tracing::info!("the stream is gone");
                session.report(true, &mut self.out).await;
                return Err(Ended);
            }
            Event::Frame(Some(Arrival { frame, .. })) => match self.app.pictures.of(&frame) {
                Ok(picture) => {
                    self.progress = clock::now();
                    session.begin(&frame, picture, &mut self.out).await;
                }
                Err(error) => {
                    tracing::info!("RTSP session ends: {error}");
                    session.report(true, &mut self.out).await;
                    return Err(Ended);
                }
            },
        }
        Ok(())
    }

    /// Answers the requests that have come whole.
    async fn on_input(&mut self, input: &mut BytesMut) -> Result<(), Ended> {
        loop {
            match parse(input) {
                Parsed::Incomplete => return Ok(()),
                // Also the receiver reports of a client that gets its packets in the connection.
                Parsed::Skip(length) => {
                    input.advance(length);
                    self.heard = clock::now();
                }
                Parsed::Request(request, length) => {
                    input.advance(length);
                    self.heard = clock::now();
                    self.progress = self.heard;
                    self.answer(&request).await?;
                }
                Parsed::Garbage => {
                    self.out.extend(b"RTSP/1.0 400 Bad Request\r\n\r\n");
                    return Err(Ended);
                }
            }
        }
    }

    async fn answer(&mut self, request: &Request) -> Result<(), Ended> {
        let response = self
            .respond(request)
            .await
            .unwrap_or_else(|(status, reason)| Response {
                status,
                reason,
                fields: match status {
                    401 => challenges(&self.nonce),
                    405 => format!("Allow: {METHODS}\r\n"),
                    551 => format!(
                        "Unsupported: {}\r\n",
                        request.field("Require").unwrap_or("")
                    ),
                    _ => String::new(),
                },
                body: String::new(),
            });

        response.write(request.field("CSeq"), &mut self.out);
        if self.failures >= MAX_FAILURES {
            return Err(Ended);
        }
        Ok(())
    }

    async fn respond(&mut self, request: &Request) -> Result<Response, Refusal> {
        if request.field("Require").is_some() {
            return refuse(551, "Option not supported");
        }
        if request.method == "OPTIONS" {
            return Ok(Response::ok(format!("Public: {METHODS}\r\n")));
        }

        self.authorize(request)?;
        match request.method.as_str() {
            "DESCRIBE" => self.describe(request).await,
            "SETUP" => self.set_up(request).await,
            "PLAY" => self.play(request),
            "PAUSE" => {
                let session = self.session(request)?;
                session.pause();
                Ok(Response::ok(format!("Session: {}\r\n", session.id)))
            }
            "GET_PARAMETER" => match request.field("Session") {
                Some(_) => {
                    let id = &self.session(request)?.id;
                    Ok(Response::ok(format!("Session: {id}\r\n")))
                }
                None => Ok(Response::ok(String::new())),
            },
            "TEARDOWN" => {
                self.session(request)?;
                if let Some(session) = self.session.take() {
                    session.report(true, &mut self.out).await;
                    tracing::info!(stream = %session.subscription.stream(), "RTSP session ended");
                }
                Ok(Response::ok(String::new()))
            }
            _ => refuse(405, "Method Not Allowed"),
        }
    }

    /// Who has shown a token once may use the connection.
    fn authorize(&mut self, request: &Request) -> Result<(), Refusal> {
        let field = request.field("Authorization");
        let admits = || {
            let authenticator = &self.app.authenticator;
            authenticator.admits(field, &request.method, &self.nonce)
        };
        self.grant = self.grant.take().or_else(admits);
        if self.grant.is_some() {
            return Ok(());
        }

        self.failures += u32::from(field.is_some());
        refuse(401, "Unauthorized")
    }

    async fn describe(&mut self, request: &Request) -> Result<Response, Refusal> {
        let stream = self.watch(request).await?;
        let local = self.ends.local.to_canonical();
        let (kind, any) = if local.is_ipv4() {
            ("IP4", "0.0.0.0")
        } else {
            ("IP6", "::")
        };
        let number = clock::random_u64() >> 32;
        let rate = self.app.output.table().interval(&stream);
        let rate = rate.map_or_else(String::new, |interval| {
            format!(
                "a=framerate:{:.3}\r\n",
                1.0 / interval.as_secs_f64().max(0.001)
            )
        });

        let body = format!(
            "v=0\r\no=- {number} 1 IN {kind} {local}\r\ns={stream}\r\nc=IN {kind} {any}\r\nt=0 0\r\n\
             a=control:*\r\na=range:npt=now-\r\nm=video 0 RTP/AVP 26\r\na=rtpmap:26 JPEG/90000\r\n{rate}\
             a=control:track0\r\n"
        );
        let base = request
            .uri
            .split('?')
            .next()
            .unwrap_or("")
            .trim_end_matches('/');
        Ok(Response {
            body,
            ..Response::ok(format!(
                "Content-Type: application/sdp\r\nContent-Base: {base}/\r\n"
            ))
        })
    }

    /// Subscribes to the stream of the request, and looks whether its pictures can be sent. Wakes a sleeping camera.
    async fn watch(&mut self, request: &Request) -> Result<StreamName, Refusal> {
        if self.session.is_some() {
            return refuse(
                455,
                "Method Not Valid in This State: the session has been set up",
            );
        }
        let none = || (404, "Not Found: the relay has no such stream".to_owned());
        let stream: StreamName = request.stream().parse().map_err(|_| none())?;
        if self
            .subscription
            .as_ref()
            .is_some_and(|it| *it.stream() == stream && !it.is_closed())
        {
            return Ok(stream);
        }

        let memory = self.app.output.table().client_memory();
        let options = Subscribe {
            client: Some((RTSP, self.ends.peer)),
            charge: Some(Arc::new(memory.open(self.ends.peer.ip(), COPIES))),
            ..Subscribe::default()
        };
        let mut subscription = self
            .app
            .output
            .subscribe(&stream, options)
            .ok_or_else(none)?;
        let first = timeout(PICTURE_TIMEOUT, subscription.next()).await;
        let Ok(arrival) = first else {
            return refuse(
                503,
                "Service Unavailable: no picture came, is the camera there?",
            );
        };

        let frame = arrival.ok_or_else(none)?.frame;
        let picture = self.app.pictures.of(&frame);
        picture.map_err(|error| (415, format!("Unsupported Media Type: {error}")))?;
        self.subscription = Some(subscription);
        Ok(stream)
    }

    async fn set_up(&mut self, request: &Request) -> Result<Response, Refusal> {
        let stream = self.watch(request).await?;
        let field = request.field("Transport").unwrap_or("");
        let Ends {
            peer,
            local,
            secure,
        } = self.ends;
        // Pictures of a connection by TLS do not leave in the clear.
        let ways = Ways {
            udp: !secure,
            multicast: !secure && self.app.groups.are_served(),
        };
        let Some(wish) = transport(field, ways) else {
            return refuse(461, "Unsupported Transport");
        };

        let transport = match wish {
            Wish::Interleaved(channels) => {
                let (rtp, rtcp) = channels.unwrap_or((0, 1));
                Transport::Interleaved(rtp, rtcp)
            }
            Wish::Udp(rtp, rtcp) => {
                let ports = [rtp, rtcp].map(|port| SocketAddr::new(peer.ip(), port));
                match UdpPair::bind(local, ports).await {
                    Ok(sockets) => Transport::Udp(sockets),
                    Err(_) => return refuse(500, "Internal Server Error: no UDP ports"),
                }
            }
            Wish::Multicast => match Groups::join(self.app, &stream).await {
                Ok(group) => Transport::Multicast(group, None),
                Err(_) => return refuse(500, "Internal Server Error: no multicast group"),
            },
        };

        let subscription = self.subscription.take().expect("the stream is watched");
        let session = Session::new(subscription, transport);
        let (way, id) = (session.way(wish), &session.id);
        let fields = format!("Transport: {way}\r\nSession: {id};timeout={SESSION_TIMEOUT_S}\r\n");
        self.session = Some(session);
        Ok(Response::ok(fields))
    }

    fn play(&mut self, request: &Request) -> Result<Response, Refusal> {
        let uri = request
            .uri
            .trim_end_matches('/')
            .trim_end_matches("/track0")
            .to_owned();
        let session = self.session(request)?;
        let next = session.play();
        let mut fields = format!("Session: {}\r\nRange: npt=now-\r\n", session.id);
        let by = match session.transport {
            Transport::Interleaved(..) => "tcp",
            Transport::Udp(_) => "udp",
            Transport::Multicast(..) => "multicast",
        };
        // A group has numbers of its own, which others have seen before.
        if !matches!(session.transport, Transport::Multicast(..)) {
            let time = next.map_or_else(String::new, |next| format!(";rtptime={next}"));
            let sequence = session.rtp.sequence;
            let _ = write!(
                fields,
                "RTP-Info: url={uri}/track0;seq={sequence}{time}\r\n"
            );
        }
        tracing::info!(stream = %session.subscription.stream(), by, "RTSP session plays");
        Ok(Response::ok(fields))
    }

    /// The session that the request names.
    fn session(&mut self, request: &Request) -> Result<&mut Session, Refusal> {
        let named = request
            .field("Session")
            .and_then(|field| field.split(';').next());
        match &mut self.session {
            Some(session) if named == Some(session.id.as_str()) => Ok(session),
            _ => refuse(454, "Session Not Found"),
        }
    }
}

#[cfg(test)]
mod tests;
