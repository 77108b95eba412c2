//! `elbo report`: the page as a browser shows it. Without a browser on the path the part that needs one is skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::backtests::{detector, rows};
use crate::{succeeds, text};

/// Names of browsers that print a page as it is after its scripts ran.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

fn browser() -> Option<&'static str> {
    let answers = |name: &&&str| {
        let version = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    BROWSERS.iter().find(answers).copied()
}

/// The document of this page after its scripts ran.
fn rendered(browser: &str, page: &Path, profile: &Path) -> String {
    let out = profile.join("document.html");
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900", "--virtual-time-budget=10000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--dump-dom", &format!("file://{}", page.display())])
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("the browser does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::read_to_string(&out).unwrap()
}

/// Collects faults of the page, before its script runs.
const WATCH: &str = "<script>
const faults = [];
addEventListener('error', (event) => faults.push(event.message));
addEventListener('securitypolicyviolation', (event) => faults.push(event.blockedURI));
</script>";

/// Moves the threshold as a hand does, and writes down what the page then shows.
const DRIVE: &str = "<script>
const read = () => ['n-threshold', 'n-false', 'n-share', 'n-events', 'n-delay'].map((id) => document.getElementById(id).textContent);
const area = document.getElementById('drag');
area.scrollIntoView({ block: 'center' });
const box = area.getBoundingClientRect();
const point = (type, share) => {
  const [clientX, clientY] = [box.left + 8 + (box.width - 16) * share, box.top + box.height / 2];
  const target = document.elementFromPoint(clientX, clientY);
  target.dispatchEvent(new PointerEvent(type, { pointerId: 1, bubbles: true, clientX, clientY }));
};
const seen = { before: read() };
point('pointermove', 0.5);
seen.hovered = read();
point('pointerdown', 0.5);
point('pointermove', 0.7);
point('pointermove', 1);
seen.high = read();
point('pointermove', 0.01);
seen.low = read();
point('pointerup', 0.01);
point('pointermove', 0.6);
seen.released = read();
document.getElementById('reset').click();
seen.reset = read();
const slider = document.getElementById('slider');
slider.value = 1000;
slider.dispatchEvent(new Event('input'));
seen.slider = read();
seen.valuetext = slider.getAttribute('aria-valuetext');
seen.descriptions = [...document.querySelectorAll('svg[role=img]')].map((svg) =>
  svg.getAttribute('aria-labelledby').split(' ').map((id) => document.getElementById(id).textContent.length));
seen.alien = document.querySelectorAll('img, iframe, object, link').length;
seen.faults = faults;
seen.groups = [...document.querySelectorAll('#timeline text title')].map((title) => title.textContent);
const written = document.createElement('pre');
written.textContent = JSON.stringify(seen);
written.id = 'seen';
document.body.append(written);
</script>";

const HOSTILE: &str = "</script><img src=x onerror=alert(1)>'";

/// A page of two events on two machines with a hostile name.
fn page(dir: &Path) -> PathBuf {
    let blob = detector(dir);
    let event = |i: usize| (200..220).contains(&i) || ((600..640).contains(&i) && i % 2 == 1);
    let data = rows(&dir.join("new.csv"), 0, 1000, event);
    let table = std::fs::read_to_string(&data).unwrap().replace("north", HOSTILE);
    std::fs::write(&data, table).unwrap();
    let out = dir.join("report.html");
    let report = ["report", text(&blob), "--data", text(&data), "--group", "machine", "--id", "time", "--period", "1m"];
    let said = succeeds(&[&report[..], &["--false-alarms", "1%", "--bootstrap", "100", "-o", text(&out)]].concat());
    assert!(said.contains("wrote") && said.contains("report.html"), "{said}");
    out
}

#[test]
fn a_dragged_threshold_changes_what_follows_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = page(dir.path());
    let html = std::fs::read_to_string(&path).unwrap();
    assert!(html.contains("1000 rows, 40 anomalous in 3 events") && html.contains("nominal 1 %"), "{html}");
    assert!(!html.contains(HOSTILE) && !html.contains("<img"));
    let Some(browser) = browser() else {
        eprintln!("skipped: none of the browsers {BROWSERS:?} is installed, so the page is not rendered");
        return;
    };
    let driven =
        html.replacen("<body>", &format!("<body>{WATCH}"), 1).replacen("</body>", &format!("{DRIVE}</body>"), 1);
    let copy = dir.path().join("driven.html");
    std::fs::write(&copy, driven).unwrap();
    let document = rendered(browser, &copy, &dir.path().canonicalize().unwrap());
    let start = document.find("<pre id=\"seen\">").expect("the scripts of the page ran") + "<pre id=\"seen\">".len();
    let seen = &document[start..start + document[start..].find("</pre>").unwrap()];
    let seen = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();

    assert_eq!(seen["faults"], serde_json::json!([]), "{seen:#}");
    assert_eq!(seen["alien"], 0, "a name became an element: {seen:#}");
    assert!(seen["groups"].as_array().unwrap().contains(&HOSTILE.into()), "{seen:#}");
    assert_eq!(seen["before"], seen["hovered"], "a pointer that is not pressed moves nothing");
    assert_eq!(seen["before"], seen["reset"]);
    assert_eq!(seen["low"], seen["released"], "a threshold that was let go stays");
    let text = |when: &str, at: usize| seen[when][at].as_str().unwrap().to_owned();
    let number = |when: &str, at: usize| text(when, at).split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!(text("before", 3).starts_with("3 of 3"), "{seen:#}");
    assert!(text("before", 1).contains(" a day"), "{seen:#}");
    assert!(number("high", 0) > number("before", 0) && number("before", 0) > number("low", 0), "{seen:#}");
    // At the right end nothing alarms, and at the left end nearly every row does.
    assert!(text("high", 1).ends_with("(0)") && text("high", 3).starts_with("0 of 3"), "{seen:#}");
    assert_eq!(text("high", 4), "none");
    assert!(number("low", 2) > 90.0 && number("low", 1) > number("before", 1), "{seen:#}");
    assert_eq!(text("slider", 3), text("high", 3));
    assert!(seen["valuetext"].as_str().unwrap().contains("nats"), "{seen:#}");
    // Each of the six charts has a title and a description.
    let descriptions = seen["descriptions"].as_array().unwrap();
    assert_eq!(descriptions.len(), 6, "{seen:#}");
    assert!(descriptions.iter().flat_map(|of| of.as_array().unwrap()).all(|len| len.as_u64() > Some(8)), "{seen:#}");
}
