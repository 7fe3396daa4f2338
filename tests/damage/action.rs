//! Ways to damage an object.

/// Where in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Its first byte.
    Start,
    /// Its middle.
    Middle,
    /// Its last byte.
    End,
}

/// A way to damage an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is gone.
    Missing,
    /// It has no bytes.
    Empty,
    /// It ends after its first byte, in its middle, before its last byte.
    Cut(At),
    /// One bit is another.
    Flip(At),
    /// It and another object of its kind have changed places.
    Swapped,
    /// It is there a second time, under another name of its kind.
    Duplicated,
    /// In its place is what had its place in another repository with the same key.
    Foreign,
    /// Nothing.
    Nothing,
}

/// All of them.
pub(crate) const ACTIONS: &[Action] = &[
    Action::Missing,
    Action::Empty,
    Action::Cut(At::Start),
    Action::Cut(At::Middle),
    Action::Cut(At::End),
    Action::Flip(At::Start),
    Action::Flip(At::Middle),
    Action::Flip(At::End),
    Action::Swapped,
    Action::Duplicated,
    Action::Foreign,
];

impl At {
    fn of(self, length: usize) -> usize {
        match self {
            Self::Start => 0,
            Self::Middle => length / 2,
            Self::End => length - 1,
        }
    }
}

/// What is left of an object that is cut.
pub(crate) fn cut(body: &[u8], at: At) -> Vec<u8> {
    body[..at.of(body.len()).max(1)].to_vec()
}

/// An object with one bit flipped.
pub(crate) fn flip(body: &[u8], at: At) -> Vec<u8> {
    let mut body = body.to_vec();
    let position = at.of(body.len());
    body[position] ^= 0x10;
    body
}
