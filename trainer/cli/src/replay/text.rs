//! Verdicts as text and as JSON.

use std::fmt::Write as _;

use elbo::Nats;
use elbo_link::{FrameReader, Judgement, Reply, SensorFault, SensorReport};
use serde_json::json;

/// What a monitor says of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    answer: Answer,
    /// The causes by name, with their contributions in nats.
    causes: Vec<(String, Nats)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Judgement(Judgement),
    Sensor(SensorReport),
}

impl Shown {
    /// The verdict in a frame, or `None` if it holds another message. `names` are those of the features.
    pub fn of(frame: &[u8], names: &[String]) -> Option<Self> {
        let mut reader = FrameReader::new();
        let answer = match reader.read(&mut &frame[..]) {
            Ok(Reply::Judgement(judgement)) => Answer::Judgement(judgement),
            Ok(Reply::Sensor(report)) => Answer::Sensor(report),
            _ => return None,
        };
        let causes = match answer {
            Answer::Judgement(judgement) => judgement.causes.iter().flatten().copied().collect(),
            Answer::Sensor(_) => Vec::new(),
        };
        let name =
            |feature: u16| names.get(usize::from(feature)).cloned().unwrap_or_else(|| format!("feature {feature}"));
        let causes = causes.into_iter().map(|cause| (name(cause.feature), Nats::from_bits(cause.nats))).collect();
        Some(Self { answer, causes })
    }

    /// The score; `None` without a verdict.
    pub fn score(&self) -> Option<Nats> {
        match self.answer {
            Answer::Judgement(judgement) => Some(Nats::from_bits(judgement.score)),
            Answer::Sensor(_) => None,
        }
    }

    /// Whether the state is that of alarm.
    pub fn is_alarm(&self) -> bool {
        matches!(self.answer, Answer::Judgement(Judgement { alarm: true, .. }))
    }

    /// The features that contribute most, by name.
    pub fn causes(&self) -> &[(String, Nats)] {
        &self.causes
    }

    /// A line of text about the window of this name.
    pub fn line(&self, name: &str) -> String {
        let mut text = String::new();
        let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
        match self.answer {
            Answer::Judgement(one) => {
                let _ = write!(text, "window {}{name}: score {}", one.window, Nats::from_bits(one.score));
                if let Some((numerator, denominator)) = one.p {
                    let _ = write!(text, ", p {:.4}", f64::from(numerator) / f64::from(denominator));
                }
                text += if one.alarm { ", ALARM" } else { ", normal" };
                if one.moved == Some(true) {
                    text += ", the normal state has moved";
                }
            }
            Answer::Sensor(one) => {
                let _ = write!(text, "window {}{name}: no verdict, {}", one.window, fault(one.fault));
                if matches!(one.fault, SensorFault::Stuck | SensorFault::Saturated) {
                    let _ = write!(text, " (channel {})", one.channel);
                }
            }
        }
        let causes: Vec<String> =
            self.causes.iter().map(|(name, nats)| format!("{name} {:.1}", nats.to_f64())).collect();
        if !causes.is_empty() {
            let _ = write!(text, "; {}", causes.join(", "));
        }
        text + "\n"
    }

    /// A JSON object about the window of this name, on one line.
    pub fn json(&self, name: &str) -> String {
        match self.answer {
            Answer::Judgement(one) => json!({
                "window": one.window,
                "name": name,
                "score": Nats::from_bits(one.score).to_f64(),
                "p": one.p.map(|(numerator, denominator)| f64::from(numerator) / f64::from(denominator)),
                "alarm": one.alarm,
                "moved": one.moved,
                "causes": self.causes.iter().map(|(name, nats)| json!({"feature": name, "nats": nats.to_f64()})).collect::<Vec<_>>(),
            }),
            Answer::Sensor(one) => json!({
                "window": one.window,
                "name": name,
                "sensor": fault(one.fault),
                "channel": one.channel,
            }),
        }
        .to_string()
    }
}

fn fault(fault: SensorFault) -> &'static str {
    match fault {
        SensorFault::Stuck => "the sensor is stuck",
        SensorFault::Saturated => "the sensor is saturated",
        SensorFault::Silent => "the sensor is silent",
        SensorFault::Failed => "the sensor does not answer",
        _ => "the sensor has another fault",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo_link::{CAUSES, Cause, write_frame};

    fn frame(reply: &Reply<'_>) -> Vec<u8> {
        let mut frame = Vec::new();
        write_frame(&mut frame, reply).unwrap();
        frame
    }

    #[test]
    fn verdicts_are_shown_with_the_names_of_their_causes() {
        let mut causes = [None; CAUSES];
        causes[0] = Some(Cause { feature: 1, nats: 5 << 16 });
        causes[1] = Some(Cause { feature: 7, nats: 1 << 15 });
        let one = Judgement { window: 3, score: 3 << 15, p: Some((1, 200)), alarm: true, moved: None, causes };
        let shown = Shown::of(&frame(&Reply::Judgement(one)), &["a".into(), "x 12-20 Hz".into()]).unwrap();
        assert_eq!(
            shown.line("bearing 900"),
            "window 3 (bearing 900): score 1.500, p 0.0050, ALARM; x 12-20 Hz 5.0, feature 7 0.5\n"
        );
        let json: serde_json::Value = serde_json::from_str(&shown.json("bearing 900")).unwrap();
        assert_eq!((json["p"].as_f64(), json["causes"][0]["feature"].as_str()), (Some(0.005), Some("x 12-20 Hz")));
        assert!(shown.is_alarm() && Shown::of(&frame(&Reply::Done), &[]).is_none());
    }

    #[test]
    fn a_sensor_that_does_not_work_is_told() {
        let report = SensorReport { window: 4, channel: 2, fault: SensorFault::Stuck };
        let shown = Shown::of(&frame(&Reply::Sensor(report)), &[]).unwrap();
        assert_eq!(shown.line(""), "window 4: no verdict, the sensor is stuck (channel 2)\n");
        assert!(!shown.is_alarm() && shown.score().is_none());
    }
}
