//! `/compute/{system_name}/templates`: jobs that the site has prepared.

use std::collections::BTreeMap;

use axum::Json;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cluster::{JobTemplate, ParameterType, ParameterValue, TemplateParameter};
use crate::http::compute::idempotency::{KeyHeader, submitted};
use crate::http::compute::model::PostJobSubmissionResponse;
use crate::http::enumeration::enum_schema;
use crate::http::extract::access::{ReadAccess, SubmitAccess, TemplateName};
use crate::http::extract::parameters::WrittenDocument;
use crate::http::problem::Problem;
use crate::service::templates::{self, TemplateRequest};

/// The templates.
#[derive(Serialize, ToSchema)]
pub(crate) struct GetTemplatesResponse {
    templates: Vec<TemplateModel>,
}

/// A job that the site has prepared.
#[derive(Serialize, ToSchema)]
#[schema(as = JobTemplate)]
pub(crate) struct TemplateModel {
    /// Its name, as in the path of a submission.
    #[schema(example = "relax")]
    name: String,
    /// The purpose of the job.
    description: String,
    /// Its parameters by name.
    parameters: BTreeMap<String, TemplateParameterModel>,
}

/// A parameter of a template. Members that do not apply are absent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = JobTemplateParameter)]
struct TemplateParameterModel {
    /// The type of the value.
    #[serde(rename = "type")]
    #[schema(value_type = ParameterTypeSchema)]
    kind: ParameterType,
    /// Its meaning.
    description: String,
    /// Whether a value is required.
    required: bool,
    /// The default value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    default: Option<ParameterValue>,
    /// The smallest integer allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<i64>,
    /// The largest integer allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<i64>,
    /// The regular expression that a whole string must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// The maximum length of a string in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<usize>,
    /// The values of an enumeration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

enum_schema! {
    /// The type of a template's parameter.
    ParameterTypeSchema of [ParameterType::Integer, ParameterType::String, ParameterType::Enum, ParameterType::Boolean]
}

impl From<&JobTemplate> for TemplateModel {
    fn from(template: &JobTemplate) -> Self {
        let parameters = template.parameters.iter().map(|(name, parameter)| (name.clone(), parameter.into())).collect();
        Self { name: template.name.clone(), description: template.description.clone(), parameters }
    }
}

impl From<&TemplateParameter> for TemplateParameterModel {
    fn from(parameter: &TemplateParameter) -> Self {
        Self {
            kind: parameter.kind,
            description: parameter.description.clone(),
            required: parameter.default.is_none(),
            default: parameter.default_value(),
            minimum: parameter.minimum,
            maximum: parameter.maximum,
            pattern: parameter.pattern.clone(),
            max_length: (parameter.kind == ParameterType::String).then_some(parameter.max_length),
            values: parameter.values.clone(),
        }
    }
}

/// Values for a template.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"parameters": {"steps": 100}, "workingDirectory": "/home/user"}))]
pub(crate) struct PostTemplateJobRequest {
    /// Values by parameter name.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    parameters: BTreeMap<String, ParameterValue>,
    /// The job's name; the name of the template if absent.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// The account to charge.
    #[schema(max_length = 255)]
    account: Option<String>,
    /// The absolute path where the job starts; required unless the template has one.
    #[serde(alias = "working_directory")]
    working_directory: Option<String>,
    /// The file that standard output is written to.
    #[serde(alias = "standard_output")]
    standard_output: Option<String>,
    /// The file that standard error is written to.
    #[serde(alias = "standard_error")]
    standard_error: Option<String>,
}

impl From<PostTemplateJobRequest> for TemplateRequest {
    fn from(request: PostTemplateJobRequest) -> Self {
        Self {
            parameters: request.parameters,
            name: request.name,
            account: request.account,
            working_directory: request.working_directory,
            standard_output: request.standard_output,
            standard_error: request.standard_error,
        }
    }
}

/// List the templates
///
/// Jobs that the site has prepared, each with its parameters.
#[utoipa::path(
    get,
    path = "/compute/{system_name}/templates",
    operation_id = "get_templates_compute__system_name__templates_get",
    tag = "compute",
    responses((status = 200, description = "The templates", body = GetTemplatesResponse))
)]
pub(crate) async fn list_templates(ReadAccess(access): ReadAccess) -> Result<Json<GetTemplatesResponse>, Problem> {
    let templates = templates::list(&access)?.iter().map(TemplateModel::from).collect();
    Ok(Json(GetTemplatesResponse { templates }))
}

/// Submit the job of a template
///
/// The script finds the value of the parameter `steps` in the environment variable `PARAM_STEPS`.
#[utoipa::path(
    post,
    path = "/compute/{system_name}/templates/{template_name}/jobs",
    operation_id = "post_template_job_compute__system_name__templates__template_name__jobs_post",
    tag = "compute",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the submission: 1 to 255 printable characters, such as a UUID")),
    request_body = PostTemplateJobRequest,
    responses((status = 201, description = "The job was submitted", body = PostJobSubmissionResponse))
)]
pub(crate) async fn submit_template(
    SubmitAccess(access): SubmitAccess,
    name: TemplateName,
    key: KeyHeader,
    request: WrittenDocument<PostTemplateJobRequest>,
) -> Result<Response, Problem> {
    let key = key.of(&[name.0.as_bytes(), b"\n", &request.bytes[..]].concat())?;
    Ok(submitted(templates::submit(&access, &name.0, request.document.into(), key.as_ref()).await?))
}
