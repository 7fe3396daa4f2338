//! How fast the data plane may go.
