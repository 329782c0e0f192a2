//! Benchmark results as one HTML page that needs nothing else: a table and a plot for each. It
//! measures nothing.

use std::fmt::Write as _;

use serde_json::Value;

/// What is shown of a result: its name in the result, how people call it, digits after the point.
const NUMBERS: [(&str, &str, usize); 11] = [
    ("per_second", "per second", 0),
    ("enqueue_per_second", "enqueued per second", 0),
    ("alone_per_second", "per second, alone", 0),
    ("p50_ms", "median, ms", 3),
    ("p99_ms", "99th percentile, ms", 3),
    ("alone_p50_ms", "median, alone, ms", 3),
    ("alone_p99_ms", "99th percentile, alone, ms", 3),
    ("small_p50_ms", "median with 10 000 ready, ms", 3),
    ("wide_ms", "10 000 wide, ms", 0),
    ("commits", "commits", 0),
    ("wal_bytes", "WAL bytes", 0),
];
const WIDTH: f64 = 640.0;
/// Where bars begin and end.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 540.0;
const ROW: f64 = 26.0;
const STYLE: &str = "
:root { color-scheme: light dark; --bar: #3b6fb6; --line: #b6523b; --faint: #8887 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
table { border-collapse: collapse } td, th { padding: .15rem .9rem .15rem 0; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums }
svg { display: block; width: 100%; height: auto; margin: .6rem 0 } svg text { font-size: 13px; fill: currentColor }
p { margin: .3rem 0 }";

/// The page of these results, as `jobshop bench --json` printed them. Fails on what is no result.
pub fn page(results: &[Value]) -> Result<String, String> {
    // All of one benchmark print an array, one prints an object.
    let results: Vec<&Value> = results
        .iter()
        .flat_map(|it| it.as_array().map_or_else(|| vec![it], |many| many.iter().collect()))
        .collect();
    if results.is_empty() {
        return Err("there is no result in it".to_owned());
    }
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Jobshop benchmarks</title><style>{STYLE}</style>\n<h1>Jobshop benchmarks</h1>\n"
    );
    html.push_str(&settings(results[0]));
    for result in results {
        section(&mut html, result)?;
    }
    html.push_str("</html>\n");
    Ok(html)
}

fn settings(result: &Value) -> String {
    let Some(settings) = result.get("settings").and_then(Value::as_object) else {
        return String::new();
    };
    let told: Vec<String> = settings
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{} {}", escaped(name), escaped(&value))
        })
        .collect();
    format!("<p>{}</p>\n", told.join(" · "))
}

fn section(html: &mut String, result: &Value) -> Result<(), String> {
    let name = result.get("bench").and_then(Value::as_str).ok_or("this is no benchmark result")?;
    let runs = result.get("runs").and_then(Value::as_array).ok_or("a result has no `runs`")?;
    let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_f64);
    let _ = writeln!(html, "<h2>{}</h2>\n<table>", escaped(name));
    for (key, label, digits) in NUMBERS {
        if let Some(value) = number(result, key) {
            let value = grouped(value, digits);
            let _ = writeln!(html, "<tr><th>{label}<td class=\"n\">{value}");
        }
    }
    html.push_str("</table>\n");
    let shown = NUMBERS.iter().find(|(key, ..)| runs.iter().any(|run| number(run, key).is_some()));
    let Some((key, label, digits)) = shown else { return Ok(()) };
    let values: Vec<f64> = runs.iter().filter_map(|run| number(run, key)).collect();
    let limit = result.get("limit").filter(|_| *key == "per_second");
    let limit = limit.and_then(|limit| number(limit, "per_second"));
    html.push_str(&plot(&values, limit, label, *digits));
    Ok(())
}

/// A bar for each run, and a line for what bare SQL reached.
fn plot(values: &[f64], limit: Option<f64>, label: &str, digits: usize) -> String {
    let most = values.iter().copied().chain(limit).fold(f64::MIN_POSITIVE, f64::max);
    let along = |value: f64| LEFT + (RIGHT - LEFT) * value / most;
    let mut y = 4.0;
    let mut bars = String::new();
    for (run, value) in values.iter().enumerate() {
        let (end, text) = (along(*value), y + ROW * 0.65);
        let _ = writeln!(
            bars,
            "<text x=\"0\" y=\"{text:.1}\">run {}</text>\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"var(--bar)\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
            run + 1,
            y + 3.0,
            end - LEFT,
            ROW - 6.0,
            end + 6.0,
            grouped(*value, digits),
        );
        y += ROW;
    }
    if let Some(limit) = limit {
        let _ = writeln!(
            bars,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{y:.1}\" stroke=\"var(--line)\" \
             stroke-width=\"2\"/><text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">bare SQL {2}</text>",
            along(limit),
            y + 14.0,
            grouped(limit, 0),
        );
        y += 18.0;
    }
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{label} of each run\">\n{bars}</svg>\n",
        y + 4.0
    )
}

/// `12 345.6`: thousands are set apart by narrow spaces.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(a, b)| (a, b));
    let mut out = String::new();
    for (nth, digit) in whole.chars().enumerate() {
        if nth > 0 && (whole.len() - nth).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_shows_every_result_and_needs_nothing_else() {
        let results = [
            json!({ "bench": "jobs", "per_second": 40_857.2, "settings": { "fsync": "on" },
                    "runs": [{ "per_second": 39_000.0 }, { "per_second": 42_000.0 }],
                    "limit": { "per_second": 80_000.0, "ratio": 0.5 } }),
            json!([{ "bench": "<chain>", "p50_ms": 0.71, "runs": [{ "p50_ms": 0.71 }] }]),
        ];
        let page = page(&results).unwrap();
        for shown in
            ["fsync on", "40\u{202f}857", "bare SQL 80\u{202f}000", "&lt;chain&gt;", "0.710"]
        {
            assert!(page.contains(shown), "{shown} in {page}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(!page.contains("http"), "{page}");
    }

    #[test]
    fn what_is_no_result_is_refused() {
        assert!(page(&[]).unwrap_err().contains("no result"));
        assert!(page(&[json!({ "tasks": 3 })]).unwrap_err().contains("no benchmark result"));
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(1_234_567.0, 0), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(999.25, 2), "999.25");
    }
}
