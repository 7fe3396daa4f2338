//! Randomness from the operating system, for keys and names.
//!
//! Not from the library of ciphers: its generator gathers jitter of the processor for 35 ms when it is first asked.

/// Draws random bytes.
pub(crate) fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
