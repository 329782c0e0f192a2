//! The filters of expressions: those of minijinja, within bounds. Fuel counts instructions, and one
//! filter is one instruction however much it does; so each call here pays for the size of its
//! arguments, and filters whose result can be far larger than these are limited by themselves.
//! Text follows the rule for values as text.

use minijinja::{
    Environment, Error, ErrorKind, State, filters,
    value::{Kwargs, Rest, Value as Eval, ValueOrKwargs},
};
use serde_json::Value;

use super::{
    scope::{NotJson, SIZE_MAX, to_json},
    to_text,
};

/// How many characters and items the filters of one expression may look at together.
const WORK_MAX: usize = 20_000_000;

/// The largest width, indentation or number of groups.
const COUNT_MAX: usize = 10_000;

/// The names of all filters.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    originals().into_iter().map(|(name, _)| name).chain(UNBOUNDED)
}

/// Filters that stay as they are: they look at no more than one value.
const UNBOUNDED: [&str; 2] = ["default", "d"];

fn originals() -> [(&'static str, Eval); 44] {
    [
        ("lower", Eval::from_function(filters::lower)),
        ("upper", Eval::from_function(filters::upper)),
        ("title", Eval::from_function(filters::title)),
        ("capitalize", Eval::from_function(filters::capitalize)),
        ("replace", Eval::from_function(replace)),
        ("length", Eval::from_function(filters::length)),
        ("count", Eval::from_function(filters::length)),
        ("dictsort", Eval::from_function(filters::dictsort)),
        ("items", Eval::from_function(filters::items)),
        ("reverse", Eval::from_function(filters::reverse)),
        ("trim", Eval::from_function(filters::trim)),
        ("join", Eval::from_function(join)),
        ("split", Eval::from_function(filters::split)),
        ("lines", Eval::from_function(filters::lines)),
        ("round", Eval::from_function(filters::round)),
        ("abs", Eval::from_function(filters::abs)),
        ("int", Eval::from_function(filters::int)),
        ("float", Eval::from_function(filters::float)),
        ("attr", Eval::from_function(filters::attr)),
        ("first", Eval::from_function(filters::first)),
        ("last", Eval::from_function(filters::last)),
        ("min", Eval::from_function(filters::min)),
        ("max", Eval::from_function(filters::max)),
        ("sort", Eval::from_function(filters::sort)),
        ("list", Eval::from_function(filters::list)),
        ("string", Eval::from_function(string)),
        ("bool", Eval::from_function(filters::bool)),
        ("batch", Eval::from_function(filters::batch)),
        ("slice", Eval::from_function(filters::slice)),
        ("sum", Eval::from_function(filters::sum)),
        ("indent", Eval::from_function(filters::indent)),
        ("select", Eval::from_function(filters::select)),
        ("reject", Eval::from_function(filters::reject)),
        ("selectattr", Eval::from_function(filters::selectattr)),
        ("rejectattr", Eval::from_function(filters::rejectattr)),
        ("map", Eval::from_function(filters::map)),
        ("groupby", Eval::from_function(filters::groupby)),
        ("unique", Eval::from_function(filters::unique)),
        ("chain", Eval::from_function(filters::chain)),
        ("zip", Eval::from_function(filters::zip)),
        ("pprint", Eval::from_function(filters::pprint)),
        ("format", Eval::from_function(format)),
        ("tojson", Eval::from_function(tojson)),
        ("escape", Eval::from_function(filters::escape)),
    ]
}

/// Puts the filters in place of those that the environment has.
pub(super) fn install(environment: &mut Environment<'static>) {
    for (name, original) in originals() {
        let has_count = matches!(name, "batch" | "slice" | "indent");
        let bounded = move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            if args.iter().any(Eval::is_undefined) {
                return Err(Error::from(ErrorKind::UndefinedError));
            }
            pay(state, &args)?;
            if has_count {
                args.iter().skip(1).try_for_each(refuse_large_counts)?;
            }
            original.call(state, &args)
        };
        environment.add_filter(name, bounded);
    }
    environment.remove_filter("safe");
    environment.remove_filter("e");
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Pays for the size of a filter's arguments.
fn pay(state: &mut State<'_, '_>, args: &[Eval]) -> Result<(), Error> {
    const PAID: &str = "work";
    let size = |value: &Eval| value.as_str().map_or_else(|| value.len().unwrap_or(16), str::len);
    let paid = state.get_temp(PAID).and_then(|paid| paid.as_usize()).unwrap_or(0);
    let paid = args.iter().map(size).fold(paid, usize::saturating_add).saturating_add(1);
    if paid > WORK_MAX {
        return Err(refused("this looks at more values than an expression may"));
    }
    state.set_temp(PAID, Eval::from(paid));
    Ok(())
}

fn refuse_large_counts(value: &Eval) -> Result<(), Error> {
    if value.is_number() && value.as_usize().is_none_or(|count| count > COUNT_MAX) {
        return Err(refused("this number is too large here"));
    }
    if value.is_kwargs() {
        for key in value.try_iter()? {
            refuse_large_counts(&value.get_item(&key)?)?;
        }
    }
    Ok(())
}

fn json(value: &Eval) -> Result<Value, Error> {
    to_json(value).map_err(|why| match why {
        NotJson::Undefined => Error::from(ErrorKind::UndefinedError),
        NotJson::TooLarge => refused("this value is too large"),
        NotJson::Kind(_) => refused("this value cannot be written as JSON"),
    })
}

fn text(value: &Eval) -> Result<String, Error> {
    value.as_str().map_or_else(|| json(value).map(|value| to_text(&value)), |t| Ok(t.to_owned()))
}

/// Any value as text.
fn string(value: &Eval) -> Result<String, Error> {
    text(value)
}

/// Compact JSON, or with an indentation.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands over owned arguments")]
fn tojson(value: &Eval, indent: Option<Eval>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = indent.or(kwargs.get("indent")?);
    kwargs.assert_all_used()?;
    let value = json(value)?;
    let is_pretty = indent.is_some_and(|indent| indent.is_true());
    Ok(if is_pretty { format!("{value:#}") } else { value.to_string() })
}

/// The items as text, with a separator between them.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands over owned arguments")]
fn join(
    value: &Eval,
    separator: Option<&str>,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let separator = separator.or(kwargs.get("d")?).unwrap_or_default();
    let attribute = attribute.or(kwargs.get("attribute")?);
    kwargs.assert_all_used()?;
    let mut joined = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        let item = match attribute {
            Some(attribute) => text(&item.get_attr(attribute)?)?,
            None => text(&item)?,
        };
        joined.push_str(&item);
        if joined.len() > SIZE_MAX {
            return Err(refused("the text would be too large"));
        }
    }
    Ok(joined)
}

/// One text in place of another, wherever it stands.
fn replace(value: &str, from: &str, to: &str) -> Result<String, Error> {
    let found = if from.is_empty() { value.len() + 1 } else { value.matches(from).count() };
    if found.saturating_mul(to.len()).saturating_add(value.len()) > SIZE_MAX {
        return Err(refused("the text would be too large"));
    }
    Ok(value.replace(from, to))
}

/// `printf`, without widths that only fill memory.
fn format(
    state: &mut State<'_, '_>,
    pattern: &Eval,
    args: Rest<ValueOrKwargs>,
) -> Result<Eval, Error> {
    const DIGITS_MAX: usize = 4;
    let digits = pattern.as_str().unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    let has_star = pattern.as_str().is_some_and(|pattern| pattern.contains('*'));
    if has_star || digits.map(str::len).max() > Some(DIGITS_MAX) {
        return Err(refused("this width is not possible here"));
    }
    filters::format(state, pattern, args)
}
