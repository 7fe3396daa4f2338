//! From what a request came back with to what is done about it.

use std::{error::Error, io};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use http_body_util::LengthLimitError;
use thiserror::Error;

use super::answer::TOO_LARGE;
use crate::store::{ErrorKind, StoreError};

/// How much of a server's own words is shown: enough for any sentence, too little to flood a log.
const SHOWN_CHARS_MAX: usize = 300;

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Nothing helps.
    Final,
    /// The server refused this time and did nothing: ask again.
    Again,
    /// It may have been done, or the true answer was lost: look, then ask again.
    Doubt,
    /// A condition did not hold.
    Conflict,
}

/// A failed attempt.
#[derive(Debug, Error)]
#[error("{cause}")]
pub(super) struct Failure {
    kind: ErrorKind,
    course: Course,
    cause: String,
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, course: Course, cause: impl Into<String>) -> Self {
        Self {
            kind,
            course,
            cause: cause.into(),
        }
    }

    /// No byte moved for too long.
    pub(super) fn stalled() -> Self {
        Self::new(
            ErrorKind::Unreachable,
            Course::Doubt,
            "the connection stalled",
        )
    }

    /// An answer that no S3 server gives, such as an error sent as success.
    pub(super) fn nonsense(what: &'static str) -> Self {
        Self::new(ErrorKind::Other, Course::Doubt, what)
    }

    /// A body that broke off.
    pub(super) fn cut(error: &(dyn Error + 'static)) -> Self {
        Self::new(ErrorKind::Unreachable, Course::Doubt, chain(error))
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(super) fn course(&self) -> Course {
        self.course
    }

    /// What the caller of the store gets.
    pub(super) fn into_error(self, operation: &'static str, object: &str) -> StoreError {
        StoreError::new(operation, object, self.kind).because(self)
    }

    /// Interprets the error of any operation.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if is_too_large(error) {
            return Self::nonsense(TOO_LARGE);
        }
        if let Some(answer) = error.raw_response() {
            let status = answer.status().as_u16();
            let metadata = error.as_service_error();
            let code = metadata.and_then(ProvideErrorMetadata::code);
            let message = metadata.and_then(ProvideErrorMetadata::message);
            if status >= 400 {
                return Self::answered(status, code, message);
            }
            if status >= 300 {
                let region = answer.headers().get("x-amz-bucket-region");
                return Self::elsewhere(status, region);
            }
            return match code {
                // An error sent as success: the code counts, but whether anything was done is unknown.
                Some(_) => Self {
                    course: Course::Doubt,
                    ..Self::answered(500, code, message)
                },
                None => Self::nonsense("the answer is not one of S3"),
            };
        }
        if let Some(kind) = local_cause(error) {
            return Self::new(kind, Course::Final, chain(error));
        }
        let unsent = matches!(error, SdkError::ConstructionFailure(_));
        let course = if unsent { Course::Final } else { Course::Doubt };
        Self::new(ErrorKind::Unreachable, course, chain(error))
    }

    /// The bucket is in another region, or at another endpoint. No redirect is followed: it would take the credentials
    /// along.
    fn elsewhere(status: u16, region: Option<&str>) -> Self {
        let way_out = match region {
            Some(region)
                if region.len() < 64 && region.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                format!("it is in region {region}: give `region={region}`")
            }
            Some(_) | None => "give its `region`, or its `endpoint`".to_owned(),
        };
        let cause = format!("http {status}: the bucket is elsewhere; {way_out}");
        Self::new(ErrorKind::Other, Course::Final, cause)
    }

    /// Interprets an answer that says it is an error.
    fn answered(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let (kind, course) = meaning(status, code.unwrap_or_default());
        let mut cause = format!("http {status}");
        for part in [code, message].into_iter().flatten() {
            let shown = part.chars().take(SHOWN_CHARS_MAX);
            cause.push_str(": ");
            cause.extend(shown.map(|c| if c.is_control() { ' ' } else { c }));
        }
        Self {
            kind,
            course,
            cause,
        }
    }
}

/// What the status and the code of an answer mean. The code is more telling, when there is one.
fn meaning(status: u16, code: &str) -> (ErrorKind, Course) {
    match (code, status) {
        ("NoSuchBucket", _) => (ErrorKind::NoContainer, Course::Final),
        ("NoSuchKey", _) => (ErrorKind::NotFound, Course::Final),
        ("RequestTimeTooSkewed", _) => (ErrorKind::Clock, Course::Final),
        ("QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull", _) | (_, 507) => {
            (ErrorKind::Full, Course::Final)
        }
        ("EntityTooLarge", _) | (_, 413) => (ErrorKind::TooLarge, Course::Final),
        ("InvalidRange", _) | (_, 416) => (ErrorKind::Short, Course::Final),
        ("NotImplemented", _) | (_, 501) => (ErrorKind::Unsupported, Course::Final),
        ("SlowDown" | "Throttling" | "ThrottlingException" | "TooManyRequests", _)
        | ("RequestLimitExceeded" | "BandwidthLimitExceeded", _)
        | (_, 429) => (ErrorKind::Throttled, Course::Again),
        // What arrived was not what was sent, and was thrown away.
        ("BadDigest" | "IncompleteBody" | "RequestTimeout", _) | (_, 408) => {
            (ErrorKind::Unreachable, Course::Again)
        }
        ("PreconditionFailed" | "ConditionalRequestConflict" | "OperationAborted", _)
        | (_, 409 | 412) => (ErrorKind::Other, Course::Conflict),
        ("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "NotSignedUp", _)
        | ("ExpiredToken" | "InvalidToken" | "AccountProblem" | "AllAccessDisabled", _)
        | (_, 401 | 403) => (ErrorKind::Denied, Course::Final),
        (_, 404) => (ErrorKind::NotFound, Course::Final),
        (_, 500..) => (ErrorKind::Unreachable, Course::Doubt),
        _ => (ErrorKind::Other, Course::Final),
    }
}

/// Whether an answer was cut off.
fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return true;
        }
        next = cause(error);
    }
    false
}

/// What on this side keeps a request from ever being answered.
fn local_cause(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(
            error.downcast_ref(),
            Some(rustls::Error::InvalidCertificate(_))
        ) {
            return Some(ErrorKind::Certificate);
        }
        if error.is::<CredentialsError>() {
            return Some(ErrorKind::Denied);
        }
        next = cause(error);
    }
    None
}

/// The cause of an error; also the one that `io::Error` wraps but does not give as its source.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        line = line + ": " + &error.to_string();
        next = error.source();
    }
    line.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_their_code_says_or_else_their_status() {
        use {Course::*, ErrorKind::*};
        for (status, code, expected) in [
            (404, "NoSuchBucket", (NoContainer, Final)),
            (404, "NoSuchKey", (NotFound, Final)),
            (404, "", (NotFound, Final)),
            (403, "RequestTimeTooSkewed", (Clock, Final)),
            (403, "SignatureDoesNotMatch", (Denied, Final)),
            (400, "ExpiredToken", (Denied, Final)),
            (403, "", (Denied, Final)),
            (403, "QuotaExceeded", (Full, Final)),
            (507, "", (Full, Final)),
            (503, "SlowDown", (Throttled, Again)),
            (429, "", (Throttled, Again)),
            (503, "", (Unreachable, Doubt)),
            (500, "InternalError", (Unreachable, Doubt)),
            (400, "BadDigest", (Unreachable, Again)),
            (412, "", (Other, Conflict)),
            (409, "ConditionalRequestConflict", (Other, Conflict)),
            (409, "", (Other, Conflict)),
            (416, "InvalidRange", (Short, Final)),
            (501, "", (Unsupported, Final)),
            (400, "InvalidArgument", (Other, Final)),
        ] {
            assert_eq!(meaning(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_bucket_elsewhere_is_not_asked_for_again() {
        for (region, words) in [
            (Some("eu-west-1"), "give `region=eu-west-1`"),
            (None, "give its `region`"),
            (Some("a b"), "give its `region`"),
        ] {
            let failure = Failure::elsewhere(301, region);
            assert_eq!(failure.course(), Course::Final);
            assert!(failure.to_string().contains(words), "{failure}");
        }
    }

    #[test]
    fn a_certificate_is_found_under_wrappers() {
        let invalid = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(invalid));
        assert_eq!(local_cause(&wrapped), Some(ErrorKind::Certificate));
        assert_eq!(local_cause(&io::Error::other("reset")), None);
    }

    #[test]
    fn causes_stay_on_one_line() {
        let failure = Failure::answered(400, Some("Bad"), Some("first\nsecond"));
        assert_eq!(failure.to_string(), "http 400: Bad: first second");
    }

    #[test]
    fn a_server_does_not_flood_the_log() {
        let failure = Failure::answered(403, Some("Denied"), Some(&"é".repeat(5_000)));
        let expected = format!("http 403: Denied: {}", "é".repeat(300));
        assert_eq!(failure.to_string(), expected);
    }
}
