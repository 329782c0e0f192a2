//! What the words of a goal tell: how much there is to it, what it takes, and which template fits.
//! They are words, not letters: `build` holds no `ui`.

/// Words that say how much is to be done.
const INDICATORS: [(&str, u32); 15] = [
    ("must", 1),
    ("should", 2),
    ("could", 3),
    ("would", 4),
    ("implement", 2),
    ("create", 2),
    ("build", 3),
    ("develop", 3),
    ("design", 4),
    ("architect", 5),
    ("integrate", 4),
    ("deploy", 3),
    ("test", 2),
    ("document", 1),
    ("migrate", 3),
];

/// Words that say that it is not simple.
const TECHNICAL: [&str; 18] = [
    "api",
    "database",
    "authentication",
    "encryption",
    "scalability",
    "performance",
    "security",
    "deployment",
    "integration",
    "microservice",
    "container",
    "kubernetes",
    "docker",
    "aws",
    "azure",
    "gcp",
    "cloud",
    "serverless",
];

/// Which capability a word asks for.
const CAPABILITIES: [(&str, &str); 34] = [
    ("design", "system_design"),
    ("architecture", "architecture_planning"),
    ("plan", "architecture_planning"),
    ("requirement", "requirements_analysis"),
    ("analyze", "requirements_analysis"),
    ("analyse", "requirements_analysis"),
    ("decompose", "task_decomposition"),
    ("implement", "code_generation"),
    ("create", "code_generation"),
    ("build", "code_generation"),
    ("develop", "code_generation"),
    ("write", "code_generation"),
    ("code", "code_generation"),
    ("add", "code_generation"),
    ("test", "test_generation"),
    ("document", "documentation"),
    ("refactor", "refactoring"),
    ("review", "code_review"),
    ("audit", "security_audit"),
    ("security", "security_audit"),
    ("performance", "performance_analysis"),
    ("compliance", "compliance_check"),
    ("debug", "debugging"),
    ("fix", "debugging"),
    ("troubleshoot", "troubleshooting"),
    ("diagnose", "root_cause_analysis"),
    ("optimize", "optimization"),
    ("improve", "optimization"),
    ("deploy", "deployment"),
    ("integrate", "deployment"),
    ("configure", "configuration"),
    ("monitor", "monitoring"),
    ("scale", "scaling"),
    ("prove", "test_generation"),
];

/// Which template fits a goal with one of these words; the first that fits is taken.
const FITTING: [(&str, &[&str]); 6] = [
    (
        "security",
        &[
            "auth",
            "authenticate",
            "authentication",
            "authorization",
            "security",
            "login",
            "oauth",
            "encryption",
        ],
    ),
    ("microservice", &["microservice", "distributed"]),
    ("crud", &["crud", "database", "model", "entity"]),
    ("ui_component", &["ui", "frontend", "interface", "widget", "component"]),
    ("web_service", &["api", "backend", "service", "server", "endpoint"]),
    ("refactoring", &["refactor", "restructure", "optimize", "simplify", "cleanup"]),
];

/// The words of a text in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Whether a word of a text is this one or one made of it, as `tests` and `testing` are of `test`.
/// Short ones are made of nothing.
fn has(words: &[String], stem: &str) -> bool {
    const ENDINGS: [&str; 10] = ["", "s", "es", "ed", "d", "ing", "er", "ation", "y", "ies"];
    let short = stem.strip_suffix('e').filter(|short| short.len() >= 4);
    words.iter().any(|word| {
        let is_made = |stem: &str| {
            word.strip_prefix(stem)
                .is_some_and(|end| end.is_empty() || (stem.len() >= 3 && ENDINGS.contains(&end)))
        };
        is_made(stem) || short.is_some_and(is_made)
    })
}

/// By how much a text is more than its length says.
pub(super) fn score(text: &str) -> f64 {
    let words = words(text);
    let told = INDICATORS.iter().filter(|(word, _)| has(&words, word)).map(|(_, weight)| *weight);
    let technical = TECHNICAL.iter().filter(|word| has(&words, word)).count();
    let technical = u32::try_from(technical).unwrap_or_default();
    1.0 + 0.1 * f64::from(told.sum::<u32>()) + 0.2 * f64::from(technical)
}

/// What a text asks for, in the order of the table; `code_generation` where it says nothing.
pub fn capabilities(text: &str) -> Vec<String> {
    let words = words(text);
    let mut found: Vec<String> = Vec::new();
    for (word, capability) in CAPABILITIES {
        if has(&words, word) && !found.iter().any(|known| known == capability) {
            found.push(capability.to_owned());
        }
    }
    if found.is_empty() {
        found.push("code_generation".to_owned());
    }
    found
}

/// The template that fits a text best, if one does.
pub fn fitting(text: &str) -> Option<&'static str> {
    fitting_without(text, &[])
}

/// The same without those that are taken.
pub(super) fn fitting_without(text: &str, taken: &[String]) -> Option<&'static str> {
    let words = words(text);
    FITTING
        .iter()
        .filter(|(name, _)| !taken.iter().any(|taken| taken == name))
        .find(|(_, stems)| stems.iter().any(|stem| has(&words, stem)))
        .map(|(name, _)| *name)
}
