//! Jobs by template: the site's script, with the caller's values in variables.
//!
//! A value is never written into a script. It is in the job's variable `PARAM_` and the parameter's name in capitals, so that no value can be
//! read as a command.

use std::collections::BTreeMap;

use super::text::{check_line, pattern_error, whole_match};
use super::{Access, IdempotencyKey, InvalidField, InvalidRequest, ServiceError, Submission, jobs};
use crate::cluster::{JobTemplate, ParameterType, ParameterValue, TemplateParameter};
use crate::domain::{JobScript, Reported, excerpt, nearest_name};
use crate::scheduler::Submitted;

/// The longest string in characters that a site may allow.
const MAX_LENGTH: usize = 16 * 1024;
/// The maximum number of parameters of a template.
const MAX_PARAMETERS: usize = 64;

/// The caller's values for a template.
#[derive(Clone, Debug, Default)]
pub struct TemplateRequest {
    /// Values by parameter name.
    pub parameters: BTreeMap<String, ParameterValue>,
    /// The job's name; that of the template if absent.
    pub name: Option<String>,
    /// The account to charge.
    pub account: Option<String>,
    /// The working directory of the job.
    pub working_directory: Option<String>,
    /// The file that standard output is written to.
    pub standard_output: Option<String>,
    /// The file that standard error is written to.
    pub standard_error: Option<String>,
}

/// The templates of a system.
///
/// # Errors
/// If the system runs no jobs.
pub fn list(access: &Access) -> Result<&[JobTemplate], ServiceError> {
    access.cluster().scheduler_without_health_check()?;
    Ok(&access.cluster().config().job_templates)
}

/// Submits the job of a template; with a key, unless that was done before.
///
/// # Errors
/// If there is no such template, a value is none that it takes, or as [`jobs::submit`].
pub async fn submit(
    access: &Access,
    name: &str,
    request: TemplateRequest,
    key: Option<&IdempotencyKey>,
) -> Result<Reported<Submitted>, ServiceError> {
    let template = list(access)?.iter().find(|template| template.name == name);
    let template = template.ok_or(ServiceError::NotFound("Template not found: the system's `templates` lists those that there are"))?;
    let environment = variables(template, request.parameters)?;
    let user = access.principal().username.as_str();
    let directory = template.working_directory.as_ref().map(|directory| directory.replace("{username}", user));
    let missing = || InvalidRequest::new("working_directory", "name the directory where the job starts");
    let submission = Submission {
        name: request.name.or_else(|| Some(template.name.clone())),
        account: request.account.or_else(|| template.account.clone()),
        reservation: None,
        partition: template.partition.clone(),
        working_directory: request.working_directory.or(directory).ok_or_else(missing)?,
        standard_input: None,
        standard_output: request.standard_output,
        standard_error: request.standard_error,
        environment,
        constraints: template.constraints.clone(),
        script: JobScript::Inline(template.script.clone()),
        program: None,
        options: template.resources.clone(),
    };
    jobs::submit(access, submission, key).await
}

/// The variables of the job, one for each parameter.
fn variables(template: &JobTemplate, mut values: BTreeMap<String, ParameterValue>) -> Result<BTreeMap<String, String>, InvalidRequest> {
    let mut wrong = Vec::new();
    let mut found = BTreeMap::new();
    let mut refuse = |name: &str, message: String| {
        wrong.push(InvalidField::new(format!("parameters.{name}"), message));
    };
    for (name, parameter) in &template.parameters {
        let value = values.remove(name).or_else(|| parameter.default_value());
        match value.ok_or_else(|| format!("a value is missing: {}", expected(parameter))).and_then(|value| text(parameter, value)) {
            Ok(text) => drop(found.insert(format!("PARAM_{}", name.to_ascii_uppercase()), text)),
            Err(message) => refuse(name, message),
        }
    }
    for name in values.keys().take(MAX_PARAMETERS) {
        let known = template.parameters.keys().map(String::as_str);
        let hint = nearest_name(name, known).map_or_else(String::new, |nearest| format!(": did you mean `{nearest}`?"));
        refuse(&excerpt(name, 64), format!("the template has no such parameter{hint}"));
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong.into_iter().collect()) }
}

/// What a parameter takes, in words.
fn expected(parameter: &TemplateParameter) -> String {
    match parameter.kind {
        ParameterType::Integer => match (parameter.minimum, parameter.maximum) {
            (None, None) => "a whole number".to_owned(),
            (Some(min), None) => format!("a whole number from {min}"),
            (None, Some(max)) => format!("a whole number up to {max}"),
            (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
        },
        ParameterType::Boolean => "true or false".to_owned(),
        ParameterType::Enum => format!("one of `{}`", parameter.values.join("`, `")),
        ParameterType::String => match &parameter.pattern {
            Some(pattern) => format!("a text that matches `{pattern}`"),
            None => "a text".to_owned(),
        },
    }
}

/// A value as the script finds it.
fn text(parameter: &TemplateParameter, value: ParameterValue) -> Result<String, String> {
    match (parameter.kind, value) {
        (ParameterType::Integer, ParameterValue::Integer(number)) => {
            let (min, max) = (parameter.minimum.unwrap_or(i64::MIN), parameter.maximum.unwrap_or(i64::MAX));
            match (min..=max).contains(&number) {
                true => Ok(number.to_string()),
                false => Err(format!("it must be from {min} to {max}")),
            }
        }
        (ParameterType::Boolean, ParameterValue::Boolean(flag)) => Ok(flag.to_string()),
        (ParameterType::Enum, ParameterValue::Text(text)) if parameter.values.contains(&text) => Ok(text),
        (ParameterType::Enum, _) => Err(format!("it must be one of `{}`", parameter.values.join("`, `"))),
        (ParameterType::String, ParameterValue::Text(text)) => {
            check_line(&text, 4 * MAX_LENGTH)?;
            if text.chars().count() > parameter.max_length {
                return Err(format!("it has more than {} characters", parameter.max_length));
            }
            let pattern = parameter.pattern.as_deref().map(whole_match).transpose().map_err(|error| error.to_string())?;
            match pattern.is_none_or(|pattern| pattern.is_match(&text)) {
                true => Ok(text),
                false => Err(format!("it does not match {}", parameter.pattern.as_deref().unwrap_or_default())),
            }
        }
        (ParameterType::Integer, _) => Err("it must be a whole number".to_owned()),
        (ParameterType::Boolean, _) => Err("it must be true or false".to_owned()),
        (ParameterType::String, _) => Err("it must be a text".to_owned()),
    }
}

/// The errors in a template of the configuration: the place in it and the reason.
pub fn mistakes(template: &JobTemplate) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |place: String, message: &str| found.push((place, message.to_owned()));
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !(1..=64).contains(&template.name.len()) || !template.name.chars().all(is_name) {
        add("name".to_owned(), "must have 1 to 64 lower-case letters, digits, '-' and '_'");
    }
    if template.script.is_empty() || template.script.contains('\0') {
        add("script".to_owned(), "must not be empty, nor hold a NUL character");
    }
    if template.parameters.len() > MAX_PARAMETERS {
        add("parameters".to_owned(), &format!("must be at most {MAX_PARAMETERS}"));
    }
    for (name, parameter) in &template.parameters {
        let place = |member: &str| format!("parameters.{name}{member}");
        let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !(1..=64).contains(&name.len()) || !name.chars().all(is_lower) {
            add(place(""), "must be named by 1 to 64 lower-case letters, digits and '_'");
        }
        if parameter.kind == ParameterType::Enum && parameter.values.is_empty() {
            add(place(".values"), "must name the values of the enumeration");
        }
        if !(1..=MAX_LENGTH).contains(&parameter.max_length) {
            add(place(".max_length"), &format!("must be from 1 to {MAX_LENGTH}"));
        }
        if parameter.minimum.zip(parameter.maximum).is_some_and(|(min, max)| min > max) {
            add(place(".maximum"), "must not be below the minimum");
        }
        if let Some(error) = parameter.pattern.as_deref().and_then(pattern_error) {
            add(place(".pattern"), &format!("must be a regular expression: {error}"));
        } else if let Some(Err(message)) = parameter.default_value().map(|value| text(parameter, value)) {
            add(place(".default"), &format!("must be a value that the parameter takes: {message}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(parameters: &Value) -> JobTemplate {
        serde_json::from_value(json!({"name": "t", "script": "#!/bin/sh\n", "parameters": parameters})).unwrap()
    }

    fn read(parameters: &Value, values: &Value) -> Result<BTreeMap<String, String>, String> {
        let values = serde_json::from_value(values.clone()).unwrap();
        variables(&template(parameters), values).map_err(|error| error.to_string())
    }

    fn all() -> Value {
        json!({
            "steps": {"type": "integer", "minimum": 1, "maximum": 100, "default": "10"},
            "input": {"type": "string", "pattern": "[a-z.]+", "max_length": 8},
            "mode": {"type": "enum", "values": ["fast", "exact"], "default": "fast"},
            "debug": {"type": "boolean", "default": "false"},
        })
    }

    #[test]
    fn values_and_defaults_become_variables() {
        let found = read(&all(), &json!({"input": "a.in", "steps": 7})).unwrap();
        let expected = [("PARAM_DEBUG", "false"), ("PARAM_INPUT", "a.in"), ("PARAM_MODE", "fast"), ("PARAM_STEPS", "7")];
        assert_eq!(found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_value_that_the_parameter_does_not_take_is_refused_by_its_name() {
        for (values, words) in [
            (json!({"input": "a", "steps": 0}), "parameters.steps: it must be from 1 to 100"),
            (json!({"input": "a", "steps": "7"}), "parameters.steps: it must be a whole number"),
            (json!({"input": "$(id)"}), "parameters.input: it does not match [a-z.]+"),
            (json!({"input": "a\nb"}), "parameters.input: it holds a control character"),
            (json!({"input": "aaaaaaaaa"}), "parameters.input: it has more than 8 characters"),
            (json!({}), "parameters.input: a value is missing: a text that matches `[a-z.]+`"),
            (json!({"input": "a", "mode": "slow"}), "parameters.mode: it must be one of `fast`, `exact`"),
            (json!({"input": "a", "debug": 1}), "parameters.debug: it must be true or false"),
            (json!({"input": "a", "step": 1}), "parameters.step: the template has no such parameter: did you mean `steps`?"),
        ] {
            let error = read(&all(), &values).unwrap_err();
            assert!(error.contains(words), "{values}: {error}");
        }
    }

    #[test]
    fn mistakes_in_a_template_are_found_with_their_places() {
        assert_eq!(mistakes(&template(&all())), []);
        let wrong = json!({
            "Steps": {"type": "integer", "minimum": 2, "maximum": 1},
            "input": {"type": "string", "pattern": "("},
            "mode": {"type": "enum"},
            "debug": {"type": "boolean", "default": "yes"},
        });
        let places: Vec<String> = mistakes(&template(&wrong)).into_iter().map(|(place, _)| place).collect();
        let expected = [
            "parameters.Steps",
            "parameters.Steps.maximum",
            "parameters.debug.default",
            "parameters.input.pattern",
            "parameters.mode.values",
        ];
        assert_eq!(places, expected);
    }
}
