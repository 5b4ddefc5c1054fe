//! `ams alert test`: one mail through the relay that is set, step by step.

use metrics_svc::clock::{Clock as _, SystemClock};
use metrics_svc::notify::{Step, test_mail};

use crate::config::Config;
use crate::failure::Failure;
use crate::print;

pub(crate) async fn test(config: &Config, to: &str) -> Result<(), Failure> {
    let relay = config.metrics.relay().map_err(|error| Failure::Usage(error.to_string()))?;
    let relay = relay.ok_or_else(|| {
        let text = "no relay is set: metrics.smtp.url (AMS_METRICS__SMTP__URL)";
        Failure::Usage(text.to_owned())
    })?;
    let mut told = Ok(());
    let mut progress = |step: &Step| {
        let line = match &step.outcome {
            Ok(answer) => format!("{}: ok: {answer}", step.stage),
            Err(reason) => format!("{}: failed: {reason}", step.stage),
        };
        if told.is_ok() {
            told = print::lines(&[line]);
        }
    };
    let sent = test_mail(&relay, to, SystemClock::start().wall(), &mut progress).await;
    told?;
    sent.map_err(|failure| Failure::Other(format!("no mail was sent to {to}: {failure}")))?;
    print::lines(&[format!("sent to {to}")])
}
