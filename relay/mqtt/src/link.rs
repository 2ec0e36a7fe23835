//! A connection to a broker: packets of MQTT 3.1.1 over TCP or TLS. Each wait has an end.

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, Publish, Subscribe, SubscribeFilter,
};
use rumqttc::mqttbytes::{self, QoS};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::topics::Topics;
use crate::{Credentials, MqttError, Settings};

/// To connect, with TLS and the broker's answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker that takes nothing for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// After so long without a word of ours the broker publishes our last will; one and a half times that by MQTT's rules.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often the broker is asked whether it is there. With no word of it until the next time it is given up.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Longest packet that is taken: descriptions of our own devices, which come back, have less than 4 KiB.
const MAX_INCOMING: usize = 64 << 10;

/// Longest packet that is sent: a picture.
const MAX_OUTGOING: usize = (1 << 20) + (1 << 10);

/// Room for what is read at once.
const READ_BYTES: usize = 4096;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error(
        "the broker's certificate is not trusted ({0}): name the file of the authority that signed it by mqtt_ca_file, and \
         write its host in mqtt as the certificate does"
    )]
    Certificate(io::Error),
    #[error("the broker refuses {0}: set mqtt_user and mqtt_password as it knows them")]
    Refused(String),
    #[error("the broker refuses the relay: {0}")]
    Unwilling(&'static str),
    #[error(
        "the broker has closed the connection; it does that too when another client comes as {0} (mqtt_id)"
    )]
    Closed(String),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the broker takes nothing")]
    Stuck,
    #[error("what answers speaks no MQTT 3.1.1: {0:?}")]
    Protocol(mqttbytes::Error),
    #[error(transparent)]
    Files(#[from] MqttError),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection on which the broker has let us in.
pub(crate) struct Link {
    stream: Box<dyn Stream>,
    input: BytesMut,
    /// Bytes that are to be written: at most [`FULL`](Self::FULL) and one packet.
    output: BytesMut,
    client_id: String,
    write_timeout: Duration,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// With so many bytes to write it is time to write them.
    const FULL: usize = 64 << 10;

    /// Connects, and says who comes and what is to be published when the connection ends unexpectedly.
    pub(crate) async fn open(settings: &Settings, topics: &Topics) -> Result<Self, LinkError> {
        let credentials = settings.credentials()?;
        let connect = Self::connect(settings, &credentials, topics);
        timeout(CONNECT_TIMEOUT, connect)
            .await
            .unwrap_or(Err(LinkError::Silent(CONNECT_TIMEOUT)))
    }

    fn new(stream: Box<dyn Stream>, client_id: String) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            client_id,
            write_timeout: WRITE_TIMEOUT,
        }
    }

    async fn connect(
        settings: &Settings,
        credentials: &Credentials,
        topics: &Topics,
    ) -> Result<Self, LinkError> {
        let client_id = format!("fanlight-{}", settings.id);
        let mut link = Self::new(stream(settings, credentials).await?, client_id);
        let mut connect = Connect::new(&link.client_id);
        connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
        let mut will = LastWill::new(topics.availability(), "offline", QoS::AtLeastOnce, true);
        will.retain = true;
        connect.last_will = Some(will);
        let user = settings.user.clone().unwrap_or_default();
        if let Some(password) = &credentials.password {
            connect.set_login(&user, password.as_str());
        } else if !user.is_empty() {
            connect.set_login(&user, "");
        }

        link.queue(&Packet::Connect(connect))?;
        link.flush().await?;
        match link.read().await? {
            Packet::ConnAck(ConnAck { code, .. }) => link.admitted(code, &user),
            _ => Err(LinkError::Protocol(mqttbytes::Error::PayloadRequired)),
        }
    }

    fn admitted(self, code: ConnectReturnCode, user: &str) -> Result<Self, LinkError> {
        let nobody = || match user {
            "" => "a client without a name".to_owned(),
            user => format!("the user {user} with this password"),
        };

        match code {
            ConnectReturnCode::Success => Ok(self),
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                Err(LinkError::Refused(nobody()))
            }
            ConnectReturnCode::RefusedProtocolVersion => {
                Err(LinkError::Unwilling("it speaks no MQTT 3.1.1"))
            }
            ConnectReturnCode::BadClientId => Err(LinkError::Unwilling("it does not take mqtt_id")),
            ConnectReturnCode::ServiceUnavailable => Err(LinkError::Unwilling("it is not ready")),
        }
    }

    pub(crate) async fn subscribe(&mut self, topics: Vec<String>) -> Result<(), LinkError> {
        let filters = topics.into_iter().map(|path| SubscribeFilter {
            path,
            qos: QoS::AtMostOnce,
        });

        let mut subscribe = Subscribe::new_many(filters);
        if subscribe.filters.is_empty() {
            return Ok(());
        }
        subscribe.pkid = 1;
        self.queue(&Packet::Subscribe(subscribe))?;
        self.flush().await
    }

    /// Adds a message to what is to be written; whether it is time to [`flush`](Self::flush).
    pub(crate) fn publish(
        &mut self,
        topic: String,
        payload: Bytes,
        retain: bool,
    ) -> Result<bool, LinkError> {
        let mut publish = Publish::from_bytes(topic, QoS::AtMostOnce, payload);
        publish.retain = retain;
        self.queue(&Packet::Publish(publish))?;
        Ok(self.output.len() >= Self::FULL)
    }

    pub(crate) fn ping(&mut self) -> Result<(), LinkError> {
        self.queue(&Packet::PingReq)
    }

    /// Says goodbye as the last will would, without waiting for the broker.
    pub(crate) async fn close(&mut self, topics: &Topics) -> Result<(), LinkError> {
        self.publish(topics.availability(), "offline".into(), true)?;
        self.queue(&Packet::Disconnect)?;
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }

    fn queue(&mut self, packet: &Packet) -> Result<(), LinkError> {
        let queued = packet.write(&mut self.output, MAX_OUTGOING);
        queued.map(drop).map_err(LinkError::Protocol)
    }

    /// Writes all that is to be written. Nothing is lost when it is not awaited to its end.
    pub(crate) async fn flush(&mut self) -> Result<(), LinkError> {
        while self.output.has_remaining() {
            let written =
                within(self.write_timeout, self.stream.write_buf(&mut self.output)).await?;
            if written == 0 {
                return Err(LinkError::Closed(self.client_id.clone()));
            }
        }
        within(self.write_timeout, self.stream.flush()).await
    }

    /// The next packet. Nothing is lost when it is not awaited to its end.
    pub(crate) async fn read(&mut self) -> Result<Packet, LinkError> {
        loop {
            match Packet::read(&mut self.input, MAX_INCOMING) {
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                packet => return packet.map_err(LinkError::Protocol),
            }

            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(LinkError::Closed(self.client_id.clone()));
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    written: impl Future<Output = io::Result<T>>,
) -> Result<T, LinkError> {
    Ok(timeout(limit, written)
        .await
        .map_err(|_| LinkError::Stuck)??)
}

async fn stream(
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Box<dyn Stream>, LinkError> {
    let broker = &settings.broker;
    let address = (broker.host.as_str(), broker.port);
    let stream = TcpStream::connect(address)
        .await
        .map_err(LinkError::Unreachable)?;
    // Small messages leave as they are written.
    stream.set_nodelay(true)?;

    let Some(tls) = &credentials.tls else {
        return Ok(Box::new(stream));
    };
    let name = ServerName::try_from(broker.host.clone());
    let name = name.map_err(|error| LinkError::Unreachable(io::Error::other(error)))?;
    let connected = TlsConnector::from(tls.clone()).connect(name, stream).await;
    match connected {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) if is_about_certificate(&error) => Err(LinkError::Certificate(error)),
        Err(error) => Err(LinkError::Unreachable(error)),
    }
}

fn is_about_certificate(error: &io::Error) -> bool {
    use tokio_rustls::rustls::Error;
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::runtime::Builder;

    use super::*;

    /// A link, and the end of its broker, between which `room` bytes can wait.
    fn link(room: usize) -> (Link, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        let mut link = Link::new(Box::new(ours), "fanlight-box".to_owned());
        link.write_timeout = Duration::from_millis(20);
        (link, theirs)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn a_broker_that_takes_nothing_is_given_up_and_little_waits_for_it() {
        run(async {
            let (mut link, _theirs) = link(64);
            let mut queued = 0;
            while !link
                .publish("a".to_owned(), vec![0; 1000].into(), true)
                .unwrap()
            {
                queued += 1;
            }
            assert!(queued < Link::FULL / 1000 + 1, "{queued}");
            assert!(matches!(link.flush().await, Err(LinkError::Stuck)));
        });
    }

    #[test]
    fn packets_that_come_in_pieces_are_read_whole_and_none_is_lost_by_giving_up_a_wait() {
        run(async {
            let (mut link, mut theirs) = link(64);
            let birth = [
                b"\x30\x1c\x00\x14homeassistant/status".as_slice(),
                b"online",
            ]
            .concat();
            for byte in &birth[..birth.len() - 1] {
                theirs.write_all(&[*byte]).await.unwrap();
                assert!(
                    timeout(Duration::from_millis(1), link.read())
                        .await
                        .is_err()
                );
            }

            theirs
                .write_all(&[birth[birth.len() - 1], 0xd0, 0])
                .await
                .unwrap();
            match link.read().await.unwrap() {
                Packet::Publish(message) => assert_eq!(message.payload, "online"),
                other => panic!("{other:?}"),
            }
            assert_eq!(link.read().await.unwrap(), Packet::PingResp);
        });
    }

    #[test]
    fn what_is_no_mqtt_or_too_long_and_what_ends_is_said() {
        run(async {
            for (bytes, protocol) in [
                (&b"\0\0"[..], true),
                (b"\x30\xff\xff\xff\x7f", true),
                (b"", false),
            ] {
                let (mut link, mut theirs) = link(64);
                theirs.write_all(bytes).await.unwrap();
                drop(theirs);
                let error = link.read().await.unwrap_err();
                assert_eq!(matches!(error, LinkError::Protocol(_)), protocol, "{error}");
                assert_eq!(matches!(error, LinkError::Closed(_)), !protocol, "{error}");
            }
        });
    }
}
