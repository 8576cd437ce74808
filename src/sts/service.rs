//! A request to STS from its signature to its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::Full;
use proxy_api::sigv4::Request;
use zeroize::Zeroizing;

use crate::authorizer::facts::RequestFacts;
use crate::http::Response;
use crate::identity::kms::{Caller, Claim, Directory, SessionCredentials};
use crate::sts::assume_role::{self, write_credentials};
use crate::sts::error::Error;
use crate::sts::get_session_token;
use crate::sts::parameters::Parameters;
use crate::sts::record::Recorded;
use crate::sts::xml::Xml;

/// The service name in the scope of a signature.
const SERVICE: &str = "sts";
const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const FORM: &str = "application/x-www-form-urlencoded";
const REQUEST_ID: &str = "x-amzn-requestid";

/// Answers requests to STS; needs no I/O.
pub struct Service {
    directory: Arc<Directory>,
}

/// An answer, and what log and audit trail want to know of it.
#[derive(Default)]
pub struct Served {
    pub response: Response,
    pub operation: Option<&'static str>,
    pub caller: Option<Caller>,
    /// Of a request that names an operation, and whose signature does not verify.
    pub(super) stranger: Option<(&'static str, Claim)>,
    pub error: Option<Error>,
    pub(super) recorded: Recorded,
}

/// Whether a request is meant for STS and not for KMS, whose requests are all POSTs of JSON.
pub fn is_for(method: &Method, query: Option<&str>, headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).map(str::trim);
    let is_form = media_type.is_some_and(|text| text.eq_ignore_ascii_case(FORM));
    let names_action = || {
        let query = query.unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "Action")
    };
    is_form || (*method == Method::GET && names_action())
}

/// The operations.
#[derive(Clone, Copy)]
enum Operation {
    AssumeRole,
    GetCallerIdentity,
    GetSessionToken,
}

impl Operation {
    const ALL: [Self; 3] = [Self::AssumeRole, Self::GetCallerIdentity, Self::GetSessionToken];

    const fn name(self) -> &'static str {
        match self {
            Self::AssumeRole => "AssumeRole",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::GetSessionToken => "GetSessionToken",
        }
    }

    /// Whatever else is wrong.
    fn named_in(form: &[u8]) -> Option<Self> {
        let (_, action) = form_urlencoded::parse(form).find(|(name, _)| name == "Action")?;
        Self::ALL.into_iter().find(|operation| operation.name() == action)
    }

    fn parse(parameters: &Parameters) -> Result<Self, Error> {
        let action = parameters.get("Action").ok_or(Error::MissingAction)?;
        let version = parameters.get("Version").unwrap_or("NO_VERSION_SPECIFIED");
        let operation = Self::ALL.into_iter().find(|operation| operation.name() == action);
        operation.filter(|_| version == VERSION).ok_or_else(|| {
            Error::InvalidAction(format!("Could not find operation {action} for version {version}"))
        })
    }
}

impl Service {
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { directory }
    }

    /// The answer to a request whose body was read whole.
    pub fn respond(&self, request: &Request<'_>, facts: &RequestFacts<'_>, request_id: &str) -> Served {
        let mut served = Served::default();
        let result = self.serve(request, facts, &mut served);
        let (status, xml) = match result {
            Ok(write) => (StatusCode::OK, succeeded(write, request_id)),
            Err(error) => {
                let answer = failed(&error, request_id);
                served.error = Some(error);
                answer
            }
        };
        served.response = response(status, xml, request_id);
        served
    }

    /// The answer to a request whose body could not be read.
    pub(super) fn refuse(&self, error: Error, request_id: &str) -> Served {
        let (status, xml) = failed(&error, request_id);
        let response = response(status, xml, request_id);
        Served { response, error: Some(error), ..Served::default() }
    }

    fn serve(
        &self,
        request: &Request<'_>,
        facts: &RequestFacts<'_>,
        served: &mut Served,
    ) -> Result<Written, Error> {
        let authenticated = self.directory.authenticate(request, SERVICE, facts.unix_seconds);
        let caller = authenticated.inspect_err(|_| {
            served.stranger =
                Operation::named_in(form(request)).map(|named| (named.name(), Claim::of(request)));
        })?;
        let caller = &*served.caller.insert(caller);
        let parameters = Parameters::parse(form(request))?;
        let operation = Operation::parse(&parameters)?;
        served.operation = Some(operation.name());
        served.recorded = Recorded::of(&parameters);
        let fields = match operation {
            Operation::AssumeRole => {
                let assumed = assume_role::execute(&self.directory, caller, facts, &parameters)?;
                served.recorded.answer = Some(assumed.recorded());
                Fields::Assumed(Box::new(assumed))
            }
            Operation::GetCallerIdentity => Fields::Identity {
                arn: caller.arn.to_string(),
                user_id: caller.user_id.to_string(),
                account: caller.account.to_string(),
            },
            Operation::GetSessionToken => Fields::Credentials(Box::new(get_session_token::execute(
                &self.directory,
                caller,
                facts,
                &parameters,
            )?)),
        };
        Ok(Written { operation, fields })
    }
}

/// Where the parameters are.
fn form<'a>(request: &Request<'a>) -> &'a [u8] {
    match request.method {
        "GET" => request.query.unwrap_or_default().as_bytes(),
        _ => request.body,
    }
}

/// What an operation answers.
struct Written {
    operation: Operation,
    fields: Fields,
}

enum Fields {
    Assumed(Box<assume_role::Assumed>),
    Credentials(Box<SessionCredentials>),
    Identity { arn: String, user_id: String, account: String },
}

fn succeeded(written: Written, request_id: &str) -> Xml {
    let name = written.operation.name();
    let mut xml = Xml::new();
    xml.element(&format!("{name}Response xmlns=\"{NAMESPACE}\""), |xml| {
        xml.element(&format!("{name}Result"), |xml| match &written.fields {
            Fields::Assumed(assumed) => assumed.write(xml),
            Fields::Credentials(credentials) => write_credentials(credentials, xml),
            Fields::Identity { arn, user_id, account } => {
                xml.text("Arn", arn);
                xml.text("UserId", user_id);
                xml.text("Account", account);
            }
        });
        xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
    });
    xml
}

fn failed(error: &Error, request_id: &str) -> (StatusCode, Xml) {
    let wire = error.wire();
    let is_ours = wire.status.is_server_error();
    let mut xml = Xml::new();
    xml.element(&format!("ErrorResponse xmlns=\"{NAMESPACE}\""), |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", if is_ours { "Receiver" } else { "Sender" });
            xml.text("Code", wire.code);
            xml.text("Message", &wire.message);
        });
        xml.text("RequestId", request_id);
    });
    (wire.status, xml)
}

fn response(status: StatusCode, xml: Xml, request_id: &str) -> Response {
    let body: Zeroizing<Vec<u8>> = xml.into_bytes();
    let mut response = Response::new(Full::new(Bytes::from_owner(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}
