//! Rule by rule: an object as people write it, and what the model gets of it, or the error. Cases are data; each is a YAML
//! object and what is expected of it as text.

mod cases;
