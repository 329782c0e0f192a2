//! Expressions: minijinja, strict, without templates of its own, with fuel. `${{ … }}` embeds one
//! in text; a value that is nothing but `${{ … }}` keeps its type. It knows values, not where they
//! come from: [`values`] builds the names.

mod filters;
mod lexer;
pub mod names;
mod scope;
pub mod template;
pub mod values;
pub mod words;

use std::sync::LazyLock;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, value::Value as Eval};
use serde_json::Value;

pub use self::scope::{Scope, from_json};
use self::{
    lexer::Token,
    scope::{NotJson, to_json},
    template::{Part, Unclosed},
};
use crate::outcome::{ErrorClass, Failure};

/// How many instructions one expression may take.
const FUEL: u64 = 50_000;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    filters::install(&mut environment);
    environment.remove_global("debug");
    environment.remove_global("namespace");
    environment
});

/// A syntax error in an expression, with its byte offset where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: usize,
    pub message: String,
}

/// How long an expression may be, how many operators it may have (each may be one level of nesting
/// to minijinja, which recurses), and how often it may multiply: `*` repeats text and lists.
const BYTES_MAX: usize = 16 * 1024;
const OPERATORS_MAX: usize = 300;
const PRODUCTS_MAX: usize = 8;

/// Checks the syntax of one expression, and that its size is reasonable.
pub fn check(source: &str) -> Result<(), SyntaxError> {
    refuse_excess(source).map_err(|message| SyntaxError { at: 0, message: message.to_owned() })?;
    match ENVIRONMENT.compile_expression(source) {
        Ok(_) => Ok(()),
        Err(error) => Err(SyntaxError {
            at: error.range().map_or(0, |range| range.start).min(source.len()),
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        }),
    }
}

fn refuse_excess(source: &str) -> Result<(), &'static str> {
    if source.len() > BYTES_MAX {
        return Err("it is longer than 16 KiB");
    }
    let mut operators = 0;
    let mut products = 0;
    for (token, span) in lexer::Lexer::new(source, 0) {
        operators += usize::from(match token {
            Token::Sign(sign) => sign != ',' && sign != ':',
            Token::Name => names::is_word(&source[span]),
            Token::Number | Token::Text => false,
        });
        products += usize::from(token == Token::Sign('*'));
    }
    if operators > OPERATORS_MAX {
        return Err("it has more than 300 operators");
    }
    if products > PRODUCTS_MAX {
        return Err("it multiplies more than 8 times");
    }
    Ok(())
}

/// Renders text that may hold `${{ }}`. A lone `${{ x }}` keeps its type, everything else is text.
pub fn render(source: &str, scope: &Scope) -> Result<Value, Failure> {
    if !template::has_expression(source) {
        return Ok(Value::String(source.to_owned()));
    }
    let parts = template::parts(source).map_err(|open| unclosed(source, open))?;
    match template::lone(&parts) {
        Some(expression) => evaluate(expression, scope),
        None => join(&parts, scope).map(Value::String),
    }
}

/// Renders text that may hold `${{ }}` to text.
pub fn render_text(source: &str, scope: &Scope) -> Result<String, Failure> {
    if !template::has_expression(source) {
        return Ok(source.to_owned());
    }
    join(&template::parts(source).map_err(|open| unclosed(source, open))?, scope)
}

fn join(parts: &[Part<'_>], scope: &Scope) -> Result<String, Failure> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Expression { source, .. } => text.push_str(&to_text(&evaluate(source, scope)?)),
        }
    }
    Ok(text)
}

/// Renders every text in a JSON value; keys stay as they are.
pub fn render_value(value: &Value, scope: &Scope) -> Result<Value, Failure> {
    Ok(match value {
        Value::String(text) => render(text, scope)?,
        Value::Array(items) => {
            items.iter().map(|item| render_value(item, scope)).collect::<Result<_, _>>()?
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| Ok((key.clone(), render_value(value, scope)?)))
            .collect::<Result<_, Failure>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// Decides a `when`: a bare expression, or one in `${{ }}`. What is not a boolean fails.
pub fn condition(source: &str, scope: &Scope) -> Result<bool, Failure> {
    let (expression, _) = template::condition(source).map_err(|open| unclosed(source, open))?;
    let decided = evaluate(expression, scope)?;
    decided.as_bool().ok_or_else(|| {
        let shown = shortened(expression.trim());
        failure(format!("`{shown}` must give true or false, not {}", noun(&decided)))
    })
}

/// A value as it stands in text and in the environment: text as it is, null as nothing, everything
/// else as compact JSON.
pub fn to_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn evaluate(source: &str, scope: &Scope) -> Result<Value, Failure> {
    refuse_excess(source).map_err(|message| failure(message.to_owned()))?;
    let result = ENVIRONMENT
        .compile_expression(source)
        .and_then(|expression| expression.eval(scope.context()))
        .map_err(|error| explain(source, scope, &error))?;
    to_json(&result).map_err(|why| match why {
        NotJson::Undefined => failure(undefined(source, scope)),
        NotJson::Kind(what) => failure(format!("`{}`: {what}", shortened(source.trim()))),
        NotJson::TooLarge => Failure::new(
            ErrorClass::TooLarge,
            format!("`{}` gives more than an expression may", shortened(source.trim())),
        ),
    })
}

fn explain(source: &str, scope: &Scope, error: &minijinja::Error) -> Failure {
    let shown = shortened(source.trim());
    if error.kind() == ErrorKind::UndefinedError {
        return failure(undefined(source, scope));
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return failure(format!("`{shown}` takes more than {FUEL} steps"));
    }
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    failure(format!("`{shown}`: {what}"))
}

/// Says which name of an expression is undefined.
fn undefined(source: &str, scope: &Scope) -> String {
    for name in names::names(source).iter().filter(|name| !name.is_call) {
        let Some(mut value) = scope.get(&name.root).cloned() else {
            return format!("`{}` is undefined", name.written(0));
        };
        for (done, step) in name.steps.iter().enumerate() {
            let names::Step::Key(key) = step else { break };
            value = item(&value, key);
            if value.is_undefined() {
                return format!("`{}` is undefined", name.written(done + 1));
            }
        }
    }
    format!("something in `{}` is undefined", shortened(source.trim()))
}

fn item(value: &Eval, key: &str) -> Eval {
    let by_index = || key.parse::<usize>().ok().and_then(|at| value.get_item_by_index(at).ok());
    match value.get_attr(key) {
        Ok(found) if !found.is_undefined() => found,
        _ => by_index().unwrap_or(Eval::UNDEFINED),
    }
}

fn unclosed(source: &str, Unclosed(at): Unclosed) -> Failure {
    failure(format!("`{}` has no closing `}}}}`", shortened(&source[at..])))
}

fn failure(message: String) -> Failure {
    Failure::new(ErrorClass::Template, message)
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// At most 120 characters of an expression.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
