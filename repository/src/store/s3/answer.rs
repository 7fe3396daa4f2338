//! How large an answer may be. All but objects are read into memory as a whole, and the server decides how long they
//! are: without a bound, one that never ends takes all there is.

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::BoxError,
    primitives::SdkBody,
};
use aws_smithy_runtime_api::client::{
    interceptors::{context::BeforeDeserializationInterceptorContextMut, dyn_dispatch_hint},
    orchestrator::Metadata,
};
use http_body_util::Limited;

/// The longest answer that is not an object: four times a page of 1,000 keys of 1,024 bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What is said about a longer one.
pub(super) const TOO_LARGE: &str = "the answer is larger than 4 MiB";

/// Cuts off every answer but an object: that is taken as it comes, and never more of it than was announced.
#[derive(Debug)]
pub(super) struct Bounded;

#[dyn_dispatch_hint]
impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        let reads = config
            .load::<Metadata>()
            .is_some_and(|request| request.name() == "GetObject");
        if !(reads && answer.status().is_success()) {
            let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
            let body = Limited::new(body, ANSWER_BYTES_MAX);
            *answer.body_mut() = SdkBody::from_body_1_x(body);
        }
        Ok(())
    }
}
