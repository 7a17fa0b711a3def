//! Kinds of node that a plan may buy.

use berth_api::quantity::quantity;
use berth_model::{Bytes, GpuMemoryMib, Labels, MilliCpu};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A kind of node, and what one costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// Name, unique; nodes are named `<name>-0` and so on.
    pub name: String,
    /// Price of one, in any unit, for example per hour.
    pub price: Price,
    /// CPU, thousandths of a core.
    pub cpu: MilliCpu,
    /// Memory, bytes.
    pub memory: Bytes,
    /// Pods it takes.
    pub pods: u32,
    /// GPU devices, 0 to 64.
    pub gpus: u32,
    /// Memory of each device that can be given out, MiB.
    pub gpu_memory: GpuMemoryMib,
    /// Model of the devices.
    pub model: String,
    /// Pool; none = `default`, or what its labels select.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// A price in millionths of a unit of money; an exact integer, because the cheapest plan is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(pub i64);

impl Price {
    /// One unit: what nodes cost when no kind has a price, so that the cheapest plan is the smallest.
    pub const ONE: Self = Self(1_000_000);

    /// As a number of units, for reading.
    pub fn units(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Serialize for Price {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.units())
    }
}

/// A kind that cannot be read. Names the kind or file, the field, the value and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not a list of kinds.
    #[error("{}: {what}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// A field.
    #[error("kind {kind:?}: {field}: {what}")]
    Field {
        /// Name or text of the kind.
        kind: String,
        /// Name of the field.
        field: String,
        /// The value and what is allowed.
        what: String,
    },
    /// The kinds do not go together.
    #[error("{0}")]
    Together(String),
}

/// A kind as it is written, every value as text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    name: String,
    price: Option<Scalar>,
    cpu: Scalar,
    memory: Scalar,
    pods: Option<Scalar>,
    gpus: Option<Scalar>,
    #[serde(alias = "gpuMemory")]
    gpu_memory: Option<Scalar>,
    model: Option<String>,
    pool: Option<String>,
    #[serde(default)]
    labels: Labels,
}

/// A number or a string in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Default for Scalar {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Integer(n) => n.to_string(),
            Self::Float(n) => n.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

const FIELDS: &str = "name, price, cpu, memory, pods, gpus, gpu-memory, model, pool";
const PODS_DEFAULT: u32 = 110;
const GPUS_MAX: i64 = 64;

impl FromStr for Kind {
    type Err = KindError;

    /// Reads `name=a100,price=12.5,cpu=96,memory=768Gi,gpus=8,gpu-memory=80Gi,model=A100`.
    fn from_str(text: &str) -> Result<Self, KindError> {
        Written::read(text)?.kind().map(|(kind, _)| kind)
    }
}

impl Written {
    /// Reads `FIELD=VALUE,...`.
    fn read(text: &str) -> Result<Self, KindError> {
        let mut written = Self::default();
        let mut seen = HashSet::new();
        for part in text.split(',') {
            let wrong =
                |field: &str, what: String| KindError::Field { kind: text.into(), field: field.into(), what };
            let (field, value) = part
                .split_once('=')
                .ok_or_else(|| wrong(part, format!("is not FIELD=VALUE; fields: {FIELDS}")))?;
            if !seen.insert(field) {
                return Err(wrong(field, "is there twice".into()));
            }
            let scalar = Scalar::Text(value.to_owned());
            match field {
                "name" => written.name = value.to_owned(),
                "price" => written.price = Some(scalar),
                "cpu" => written.cpu = scalar,
                "memory" => written.memory = scalar,
                "pods" => written.pods = Some(scalar),
                "gpus" => written.gpus = Some(scalar),
                "gpu-memory" => written.gpu_memory = Some(scalar),
                "model" => written.model = Some(value.to_owned()),
                "pool" => written.pool = Some(value.to_owned()),
                _ => return Err(wrong(field, format!("is no field of a kind; allowed: {FIELDS}"))),
            }
        }
        Ok(written)
    }

    /// The kind, and whether it has a price of its own.
    fn kind(self) -> Result<(Kind, bool), KindError> {
        let wrong = |field: &str, what: String| KindError::Field {
            kind: self.name.clone(),
            field: field.into(),
            what,
        };
        let read =
            |field: &str, value: Option<&Scalar>, parse: &dyn Fn(&str) -> Option<i64>, allowed: &str| {
                let Some(value) = value.map(Scalar::text) else { return Ok(None) };
                parse(&value).map(Some).ok_or_else(|| wrong(field, format!("{value:?}; allowed: {allowed}")))
            };
        let whole = |max: i64| move |text: &str| text.parse().ok().filter(|n| (0..=max).contains(n));
        if self.name.is_empty() {
            return Err(wrong("name", "missing; allowed: any text".into()));
        }
        let price =
            read("price", self.price.as_ref(), &in_units(1_000_000), "0 or more, a multiple of 0.000001")?;
        let cpu = read("cpu", Some(&self.cpu), &in_units(1000), "cores, as in 96 or 500m")?;
        let bytes = "a quantity, as in 768Gi, 512Mi or 1000000";
        let memory = read("memory", Some(&self.memory), &in_units(1), bytes)?;
        let gpu_memory = read("gpu-memory", self.gpu_memory.as_ref(), &in_units(1), bytes)?;
        let gpus = read("gpus", self.gpus.as_ref(), &whole(GPUS_MAX), "0 to 64")?;
        let pods = read("pods", self.pods.as_ref(), &whole(i64::from(u32::MAX)), "0 to 4294967295")?;
        let gpus = gpus.unwrap_or(0) as u32;
        if gpus > 0 && gpu_memory.is_none_or(|bytes| bytes < 1 << 20) {
            return Err(wrong(
                "gpu-memory",
                "missing or below 1Mi, and the kind has GPUs; allowed: as in 80Gi".into(),
            ));
        }
        let kind = Kind {
            price: price.map_or(Price::ONE, Price),
            cpu: MilliCpu(cpu.unwrap_or(0)),
            memory: Bytes(memory.unwrap_or(0)),
            pods: pods.map_or(PODS_DEFAULT, |n| n as u32),
            gpus,
            gpu_memory: GpuMemoryMib(gpu_memory.unwrap_or(0) >> 20),
            model: self.model.clone().unwrap_or_default(),
            pool: self.pool.clone(),
            labels: self.labels.clone(),
            name: self.name.clone(),
        };
        Ok((kind, price.is_some()))
    }
}

/// The kinds of the command line, then those of the file; one to three, with different names.
///
/// # Errors
///
/// Names the kind or file, the field, the value and what is allowed.
pub fn kinds(texts: &[String], file: Option<&Path>) -> Result<Vec<Kind>, KindError> {
    let mut kinds: Vec<(Kind, bool)> = Vec::new();
    for text in texts {
        kinds.push(Written::read(text)?.kind()?);
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KindError::File { path: path.to_owned(), source })?;
        let written: Vec<Written> = serde_saphyr::from_str(&text)
            .map_err(|e| KindError::Yaml { path: path.to_owned(), what: e.to_string() })?;
        for written in written {
            kinds.push(written.kind()?);
        }
    }
    let together = |what: String| Err(KindError::Together(what));
    if !(1..=super::KINDS_MAX).contains(&kinds.len()) {
        return together(format!("{} kinds of node; allowed: 1 to {}", kinds.len(), super::KINDS_MAX));
    }
    let mut names = HashSet::new();
    if let Some((kind, _)) = kinds.iter().find(|(kind, _)| !names.insert(kind.name.clone())) {
        return together(format!("kind {:?} is there twice", kind.name));
    }
    if let (true, Some((kind, _))) = (kinds.iter().any(|k| k.1), kinds.iter().find(|k| !k.1)) {
        return together(format!("kind {:?} has no price and others do; allowed: all or none", kind.name));
    }
    Ok(kinds.into_iter().map(|(kind, _)| kind).collect())
}

/// Reads a quantity of 0 or more in units of `1 / per_one`, exactly or not at all.
fn in_units(per_one: i64) -> impl Fn(&str) -> Option<i64> {
    move |text| quantity(text, per_one).ok().filter(|amount| *amount >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A100: &str = "name=a100,price=12.5,cpu=96,memory=768Gi,gpus=8,gpu-memory=80Gi,model=A100";

    #[test]
    fn a_kind_reads_exactly() {
        let kind: Kind = A100.parse().unwrap();
        assert_eq!(
            (kind.price, kind.cpu, kind.memory),
            (Price(12_500_000), MilliCpu(96_000), Bytes(768 << 30))
        );
        assert_eq!((kind.gpus, kind.gpu_memory, kind.pods), (8, GpuMemoryMib(80 << 10), 110));
    }

    #[test]
    fn errors_name_kind_field_value_and_what_is_allowed() {
        let cases = [
            ("name=a,cpu=1,memory=1Gi,gpus=65,gpu-memory=1Gi", "gpus: \"65\"; allowed: 0 to 64"),
            ("name=a,cpu=1,memory=1Gi,gpus=1", "gpu-memory: missing or below 1Mi"),
            ("name=a,cpu=-1,memory=1Gi", "cpu: \"-1\"; allowed: cores"),
            ("name=a,cpu=1,memory=1Zi", "memory: \"1Zi\"; allowed: a quantity"),
            ("name=a,cpu=1,memory=0.5", "memory: \"0.5\"; allowed: a quantity"),
            ("name=a,cpu=1", "memory: \"\"; allowed: a quantity"),
            ("name=a,cpu=1,memory=1Gi,price=0.0000001", "price: \"0.0000001\"; allowed: 0 or more"),
            ("name=a,color=red", "color: is no field of a kind; allowed: name, price"),
            ("name=a,name=b", "name: is there twice"),
            ("cpu=1,memory=1Gi", "name: missing"),
            ("a100", "a100: is not FIELD=VALUE"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Kind>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn together(texts: &[&str]) -> Result<Vec<Kind>, String> {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        kinds(&texts, None).map_err(|e| e.to_string())
    }

    #[test]
    fn kinds_must_go_together() {
        assert_eq!(together(&[A100]).unwrap().len(), 1);
        assert_eq!(together(&[]).unwrap_err(), "0 kinds of node; allowed: 1 to 3");
        assert_eq!(together(&[A100, A100]).unwrap_err(), "kind \"a100\" is there twice");
        let unpriced = together(&[A100, "name=b,cpu=1,memory=1Gi"]).unwrap_err();
        assert_eq!(unpriced, "kind \"b\" has no price and others do; allowed: all or none");
    }

    #[test]
    fn a_file_of_kinds_reads_like_the_command_line() {
        let path = std::env::temp_dir().join(format!("berth-kinds-{}.yaml", std::process::id()));
        let yaml =
            "- {name: a100, price: 12.5, cpu: 96, memory: 768Gi, gpus: 8, gpuMemory: 80Gi, model: A100}\n";
        std::fs::write(&path, yaml).unwrap();
        assert_eq!(kinds(&[], Some(&path)).unwrap(), together(&[A100]).unwrap());
        std::fs::write(&path, "- {name: a100, cpu: 1, memory: 1Gi, colour: red}\n").unwrap();
        let error = kinds(&[], Some(&path)).unwrap_err().to_string();
        assert!(error.contains("colour") && error.contains("berth-kinds"), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}
