//! The outputs beside UDP. A new one is a crate and a line here; see `docs/adding-an-output.md`.

use fanlight_http::Http;
use fanlight_live::OutputServer;
use fanlight_rtsp::Rtsp;

use crate::StartError;
use crate::config::Config;

/// Binds what the outputs of `config` need.
///
/// # Errors
/// When one cannot have its port, its keys or the like.
pub(crate) fn bind(config: &Config) -> Result<Vec<Box<dyn OutputServer>>, StartError> {
    let mut outputs: Vec<Box<dyn OutputServer>> = Vec::new();
    if let Some(settings) = config.http_settings() {
        outputs.push(Box::new(Http::bind(settings)?));
    }
    if let Some(settings) = config.rtsp_settings() {
        outputs.push(Box::new(Rtsp::bind(&settings)?));
    }
    Ok(outputs)
}
