//! Members of a Key/Value secret: a value that is a text, and a JSON object.
//!
//! KMS has no word for it on the wire: the console writes such an object, and other tools take members out. Here a version keeps
//! names and lengths of its members in its record, so that they are listed without a look at the value, and one of them can be
//! written with all others as they stand, to the byte.
//!
//! What is plaintext is borrowed here and written into what the caller wipes: nothing of it is kept.
//!
//! Reading order: `name`, `object` (a value's members), `edit` (one of them another), `dotenv` (all of them as lines for a shell),
//! `fields` (what a record keeps).

mod dotenv;
mod edit;
mod fields;
mod name;
mod object;

pub use edit::{Edit, Edited, edit, write_object};
pub use fields::Fields;
pub use name::MemberName;
pub use object::{MEMBERS_MAX, Object};
