//! The value of an expression for the properties of a message, which are looked up in the record's own bytes.

use std::cmp::Ordering;

use wire::properties;

use super::EvaluationError;
use super::node::{Constant, Node, Place, Relation};
use super::numbers;

/// A value while it is computed; texts borrow from the record or the expression.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// The outcome of a whole expression: `None` is NULL.
pub(super) fn outcome(node: &Node, properties: &[u8]) -> Result<Option<bool>, EvaluationError> {
    Ok(match value(node, properties)? {
        Value::Boolean(boolean) => Some(boolean),
        _ => None,
    })
}

fn value<'a>(node: &'a Node, properties: &'a [u8]) -> Result<Value<'a>, EvaluationError> {
    Ok(match node {
        Node::Property(name) => property(properties, name),
        Node::Constant(constant) => match constant {
            Constant::Null => Value::Null,
            Constant::Boolean(boolean) => Value::Boolean(*boolean),
            Constant::Int(number) => Value::Int(*number),
            Constant::Long(number) => Value::Long(*number),
            Constant::Double(number) => Value::Double(*number),
            Constant::Text(text) => Value::Text(text),
        },
        Node::Negate(operand) => match value(operand, properties)? {
            Value::Int(number) => Value::Int(number.wrapping_neg()),
            Value::Long(number) => Value::Long(number.wrapping_neg()),
            Value::Double(number) => Value::Double(-number),
            _ => Value::Null,
        },
        Node::Not(operand) => match value(operand, properties)? {
            Value::Boolean(boolean) => Value::Boolean(!boolean),
            _ => Value::Null,
        },
        Node::Cast(operand) => match value(operand, properties)? {
            Value::Null => Value::Null,
            // A text is never true, not even 'true'.
            _ => Value::Boolean(false),
        },
        Node::All(operands) => joined(operands, properties, false)?,
        Node::Any(operands) => joined(operands, properties, true)?,
        Node::Equal(operands) => {
            let (left, right) = (value(&operands.0, properties)?, value(&operands.1, properties)?);
            equal(left, right)?
        }
        Node::Compare(relation, operands) => match value(&operands.0, properties)? {
            Value::Null => Value::Null,
            left => match value(&operands.1, properties)? {
                Value::Null => Value::Null,
                right => Value::Boolean(holds(*relation, ordered(left, right)?)),
            },
        },
        Node::Find { pattern, .. } if pattern.is_empty() => Value::Boolean(false),
        Node::Find { value: operand, place, pattern, negated } => match value(operand, properties)? {
            Value::Text(text) => Value::Boolean(stands(text, *place, pattern) != *negated),
            // With and without NOT.
            _ => Value::Boolean(false),
        },
        Node::In { property: name, set, negated } => match property(properties, name) {
            Value::Text(text) => {
                let found = set.binary_search_by(|element| (**element).cmp(text)).is_ok();
                Value::Boolean(found != *negated)
            }
            _ => Value::Null,
        },
    })
}

fn property<'a>(properties: &'a [u8], name: &str) -> Value<'a> {
    properties::find(properties, name).map_or(Value::Null, Value::Text)
}

/// OR is decided by the first true operand, AND by the first false one; else one NULL makes the whole NULL.
fn joined<'a>(
    operands: &'a [Node],
    properties: &'a [u8],
    decides: bool,
) -> Result<Value<'a>, EvaluationError> {
    let mut unknown = false;
    for operand in operands {
        match value(operand, properties)? {
            Value::Boolean(boolean) if boolean == decides => return Ok(Value::Boolean(decides)),
            Value::Boolean(_) => (),
            _ => unknown = true,
        }
    }
    Ok(if unknown { Value::Null } else { Value::Boolean(!decides) })
}

/// Equality is not symmetric: what is missing on the left is unknown, on the right it is unequal.
fn equal<'a>(left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, EvaluationError> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Value::Boolean(true)),
        (Value::Null, _) => Ok(Value::Null),
        (_, Value::Null) => Ok(Value::Boolean(false)),
        (Value::Text(left), Value::Text(right)) => Ok(Value::Boolean(left == right)),
        _ => Ok(Value::Boolean(compared(left, right)? == Ordering::Equal)),
    }
}

/// Two properties are compared as numbers when it is about order.
fn ordered(left: Value<'_>, right: Value<'_>) -> Result<Ordering, EvaluationError> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Ok(numbers::compare_f64(double(left)?, double(right)?)),
        _ => compared(left, right),
    }
}

/// Order of two values of any kinds but two texts; kinds that have nothing in common are "less", as in Java.
fn compared(left: Value<'_>, right: Value<'_>) -> Result<Ordering, EvaluationError> {
    use Value::{Boolean, Double, Int, Long, Null, Text};
    Ok(match (left, right) {
        (Boolean(left), Boolean(right)) => left.cmp(&right),
        (Text(left), Boolean(right)) => left.eq_ignore_ascii_case("true").cmp(&right),
        (Boolean(_), Text(_)) => return Err(EvaluationError::BooleanAndText),
        (Int(left), Int(right)) => left.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Int(left), Double(right)) => numbers::compare_f64(f64::from(left), right),
        (Int(left), Text(right)) => left.cmp(&int(right)?),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Long(left), Double(right)) => numbers::compare_f64(left as f64, right),
        (Long(left), Text(right)) => left.cmp(&long(right)?),
        (Double(left), Int(right)) => numbers::compare_f64(left, f64::from(right)),
        (Double(left), Long(right)) => numbers::compare_f64(left, right as f64),
        (Double(left), Double(right)) => numbers::compare_f64(left, right),
        (Double(left), Text(right)) => numbers::compare_f64(left, double(right)?),
        (Text(left), Int(right)) => int(left)?.cmp(&right),
        (Text(left), Long(right)) => long(left)?.cmp(&right),
        (Text(left), Double(right)) => numbers::compare_f64(double(left)?, right),
        (Text(left), Text(right)) => left.cmp(right),
        (Boolean(_), _) | (_, Boolean(_)) | (Null, _) | (_, Null) => Ordering::Less,
    })
}

fn int(text: &str) -> Result<i32, EvaluationError> {
    numbers::parse_i32(text).ok_or(EvaluationError::NoNumber)
}

fn long(text: &str) -> Result<i64, EvaluationError> {
    numbers::parse_i64(text).ok_or(EvaluationError::NoNumber)
}

fn double(text: &str) -> Result<f64, EvaluationError> {
    numbers::parse_f64(text).ok_or(EvaluationError::NoNumber)
}

fn holds(relation: Relation, order: Ordering) -> bool {
    match relation {
        Relation::Less => order.is_lt(),
        Relation::LessEqual => order.is_le(),
        Relation::Greater => order.is_gt(),
        Relation::GreaterEqual => order.is_ge(),
    }
}

fn stands(text: &str, place: Place, pattern: &str) -> bool {
    match place {
        Place::Anywhere => text.contains(pattern),
        Place::Start => text.starts_with(pattern),
        Place::End => text.ends_with(pattern),
    }
}
