//! The page of a report: what stands in it without a script, and the scripts that draw its charts.

use std::fmt::Write as _;

use anyhow::Result;
use elbo::Model;
use elbo::program::ProgramKind;
use elbo_trainer::family;
use serde_json::Value;

use crate::backtest::text::{counts, lines, plural};
use crate::backtest::{Measures, Results};
use crate::scorer::Scored;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The parts of a page. Texts are not escaped yet.
pub(super) struct Page {
    pub title: String,
    /// What the model is.
    pub facts: Vec<(&'static str, String)>,
    /// The programs of the blob: name, multiply-accumulates, steps.
    pub programs: Vec<[String; 3]>,
    /// The names of the features.
    pub features: Vec<String>,
    /// Headings and measures of all rows and of each group.
    pub tables: Vec<(String, Vec<(&'static str, String)>)>,
    pub data: Value,
}

/// What the model is, a name and a text each.
pub(super) fn facts(scored: &Scored<'_>, blob_bytes: usize) -> Result<Vec<(&'static str, String)>> {
    let model = &scored.model;
    let meta = model.meta()?;
    let description = family::find(meta.family).map_or("", |family| family.description);
    let mut facts = vec![("name", meta.name.to_owned()), ("family", format!("{}: {description}", meta.family))];
    if let Some(windows) = model.windows()? {
        let rate = if windows.rate > 0.0 { format!(", {} Hz", windows.rate) } else { String::new() };
        let names: Vec<&str> = elbo::Reading::names(windows.names).collect();
        let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        facts.push(("windows", format!("{} samples, one every {} samples{rate}", windows.window, windows.hop)));
        facts.push(("channels", format!("{}{names}", windows.channels)));
    }
    facts.push(("score", scored.name.clone()));
    facts.push(("flash", format!("{blob_bytes} bytes")));
    facts.push(("arena in RAM", format!("{} bytes", 2 * model.arena_len())));
    if let Some(calibration) = scored.judged.calibration {
        facts.push(("calibration", format!("{} held-out rows", calibration.rows())));
    }
    Ok(facts)
}

/// The cost of each program.
pub(super) fn programs(model: &Model<'_>) -> Vec<[String; 3]> {
    let cost = |kind: ProgramKind| {
        let info = model.program(kind)?;
        Some([kind.name().to_owned(), info.macs.to_string(), info.work.to_string()])
    };
    ProgramKind::ALL.into_iter().filter_map(cost).collect()
}

/// The names of the features, as far as the data had any.
pub(super) fn features(scored: &Scored<'_>) -> Vec<String> {
    scored.dataset.reading.columns.clone()
}

/// The measures of all rows and of each group.
pub(super) fn tables(
    scored: &Scored<'_>,
    results: &Results,
    measures: &Measures,
    id: Option<&str>,
) -> Vec<(String, Vec<(&'static str, String)>)> {
    let heading = |name: &str, counts: String| format!("{name}: {counts}");
    results.parts.iter().map(|part| (heading(&part.0, counts(&part.1)), lines(scored, part, measures, id))).collect()
}

/// A text as HTML, for elements and quoted attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// JSON that may stand in a script element: no text in it can end the element or open a comment.
fn embedded(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A table with a heading for each row.
fn pairs(rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(name), escaped(value))
    };
    format!("<table>\n{}</table>\n", rows.iter().map(row).collect::<String>())
}

impl Page {
    /// The file.
    pub(super) fn html(&self) -> String {
        let mut programs = String::from(
            "<table class=\"numbers\">\n<tr><th scope=\"col\">program</th><th scope=\"col\">multiply-accumulates</th>\
             <th scope=\"col\">steps</th></tr>\n",
        );
        for [name, macs, steps] in &self.programs {
            let name = escaped(name);
            let _ = writeln!(programs, "<tr><th scope=\"row\">{name}</th><td>{macs}</td><td>{steps}</td></tr>");
        }
        programs.push_str("</table>\n");
        let features = match self.features.as_slice() {
            [] => String::new(),
            names => {
                let names: Vec<String> = names.iter().map(|name| escaped(name)).collect();
                format!(
                    "<details><summary>{} feature{}</summary><p>{}</p></details>\n",
                    names.len(),
                    plural(names.len()),
                    names.join(", ")
                )
            }
        };
        let mut measures = String::new();
        for (at, (heading, rows)) in self.tables.iter().enumerate() {
            let table = pairs(rows);
            let _ = match at {
                0 => writeln!(measures, "<h3>{}</h3>\n{table}", escaped(heading)),
                _ => writeln!(measures, "<details><summary>{}</summary>\n{table}</details>", escaped(heading)),
            };
        }
        let holes = [
            ("{{title}}", escaped(&self.title)),
            ("{{style}}", STYLE.to_owned()),
            ("{{facts}}", pairs(&self.facts)),
            ("{{programs}}", programs),
            ("{{features}}", features),
            ("{{measures}}", measures),
            ("{{data}}", embedded(&self.data)),
            ("{{script}}", SCRIPT.to_owned()),
        ];
        // Each hole is filled once, in one pass, so that no text is taken for a hole.
        let mut html = String::new();
        let mut rest = HTML;
        for (hole, text) in holes {
            if let Some((before, after)) = rest.split_once(hole) {
                html.push_str(before);
                html.push_str(&text);
                rest = after;
            }
        }
        html + rest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOSTILE: &str = "</script><script>alert(1)</script><!-- \" ' & {{data}}";

    #[test]
    fn hostile_names_stay_text() {
        let page = Page {
            title: HOSTILE.to_owned(),
            facts: vec![("name", HOSTILE.to_owned())],
            programs: vec![],
            features: vec![HOSTILE.to_owned()],
            tables: vec![(HOSTILE.to_owned(), vec![("AUC", HOSTILE.to_owned())])],
            data: json!({"groups": [[HOSTILE, 0]]}),
        };
        let html = page.html();
        assert!(!html.contains("<script>alert") && !html.contains("<!-- \""), "a name is not escaped");
        // The data and the script of the page.
        assert_eq!((html.matches("<script").count(), html.matches("</script>").count()), (2, 2));
        let start = html.find("id=\"data\">").unwrap() + "id=\"data\">".len();
        let data = &html[start..start + html[start..].find("</script>").unwrap()];
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), page.data);
    }

    #[test]
    fn every_hole_of_the_page_is_filled_and_nothing_is_loaded() {
        let page = Page {
            title: "fan".to_owned(),
            facts: vec![],
            programs: vec![["score".to_owned(), "10".to_owned(), "20".to_owned()]],
            features: vec![],
            tables: vec![],
            data: Value::Null,
        };
        let html = page.html();
        assert!(!html.contains("{{"), "a hole is left");
        for reference in ["src=", "href=", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML"] {
            assert!(!html.contains(reference), "{reference}");
        }
        assert!(html.contains("default-src 'none'"));
    }
}
