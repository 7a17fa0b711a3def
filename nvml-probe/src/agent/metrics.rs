//! What Prometheus sees.
//!
//! Devices bear the names, units and labels that the DCGM exporter gives them, so that dashboards made for it show them:
//! `DCGM_FI_DEV_FB_USED` in MiB, with `gpu`, `UUID`, `device`, `modelName`, `Hostname`, `DCGM_FI_DRIVER_VERSION`. That exporter
//! names one pod per device; on a shared device there are several, so pods have series of their own,
//! `berth_pod_gpu_memory_used_bytes`. What is unknown has no series: it is never 0.
//!
//! The figures are put together when they are asked for, from the latest state, and cost the sampler nothing.

use prometheus::{GaugeVec, Opts, Registry, TextEncoder};

use crate::agent::{DeviceState, Fitness, NodeState};

const DEVICE: [&str; 6] = ["gpu", "UUID", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION"];
const POD: [&str; 6] = ["gpu", "UUID", "Hostname", "namespace", "pod", "uid"];

/// All figures of a state, as text.
///
/// # Errors
/// If two figures have one name, which is a fault of this file.
pub(crate) fn text(state: &NodeState, node: &str) -> prometheus::Result<String> {
    let driver = state.driver.up().and_then(|driver| driver.version.known());
    let driver = driver.cloned().unwrap_or_default();
    let figures = Figures { registry: Registry::new(), node: node.to_owned(), driver };
    figures.agent(state)?;
    figures.memory(state)?;
    figures.load(state)?;
    figures.health(state)?;
    figures.pods(state)?;
    TextEncoder::new().encode_to_string(&figures.registry.gather())
}

struct Figures {
    registry: Registry,
    node: String,
    driver: String,
}

type Read = fn(&DeviceState) -> Option<f64>;

impl Figures {
    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn per_device(&self, state: &NodeState, name: &str, help: &str, read: Read) -> prometheus::Result<()> {
        let gauge = self.gauge(name, help, &DEVICE)?;
        for device in &state.devices {
            if let Some(value) = read(device) {
                gauge.with_label_values(&self.labels(device)).set(value);
            }
        }
        Ok(())
    }

    fn labels(&self, device: &DeviceState) -> [String; 6] {
        let info = &device.info;
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        [
            info.index.to_string(),
            text(info.uuid.known()),
            info.minor.known().map(|minor| format!("nvidia{minor}")).unwrap_or_default(),
            text(info.product.known()),
            self.node.clone(),
            self.driver.clone(),
        ]
    }

    fn agent(&self, state: &NodeState) -> prometheus::Result<()> {
        let up = self.gauge("berth_nvml_up", "Whether NVML can be talked to.", &["Hostname"])?;
        up.with_label_values(&[&self.node]).set(u8::from(state.driver.up().is_some()).into());
        let samples = self.gauge("berth_nvml_samples", "Samples since the agent started.", &["Hostname"])?;
        samples.with_label_values(&[&self.node]).set(state.tick as f64);
        Ok(())
    }

    fn memory(&self, state: &NodeState) -> prometheus::Result<()> {
        let figures: [(&str, &str, Read); 6] = [
            ("DCGM_FI_DEV_FB_TOTAL", "Memory built in (MiB).", |device| {
                Some(device.sample.as_ref()?.memory.known()?.total.mib() as f64)
            }),
            ("DCGM_FI_DEV_FB_USED", "Memory in use (MiB).", |device| {
                Some(device.sample.as_ref()?.memory.known()?.used.mib() as f64)
            }),
            ("DCGM_FI_DEV_FB_FREE", "Memory free (MiB).", |device| {
                Some(device.sample.as_ref()?.memory.known()?.free.mib() as f64)
            }),
            ("DCGM_FI_DEV_FB_RESERVED", "Memory that the driver keeps (MiB).", |device| {
                Some(device.sample.as_ref()?.memory.known()?.reserved.mib() as f64)
            }),
            ("berth_gpu_memory_foreign_bytes", "Memory in use by no pod (S17).", |device| {
                Some(device.shares.as_ref()?.foreign?.0 as f64)
            }),
            (
                "berth_gpu_memory_unknown_bytes",
                "Memory in use by processes whose pod cannot be told.",
                |device| Some(device.shares.as_ref()?.unknown.0 as f64),
            ),
        ];
        figures.into_iter().try_for_each(|(name, help, read)| self.per_device(state, name, help, read))
    }

    fn load(&self, state: &NodeState) -> prometheus::Result<()> {
        let figures: [(&str, &str, Read); 4] = [
            ("DCGM_FI_DEV_GPU_UTIL", "Part of the time in which a kernel ran (%).", |device| {
                Some(device.sample.as_ref()?.utilisation.known()?.gpu.0.into())
            }),
            (
                "DCGM_FI_DEV_MEM_COPY_UTIL",
                "Part of the time in which memory was read or written (%).",
                |device| Some(device.sample.as_ref()?.utilisation.known()?.memory.0.into()),
            ),
            ("DCGM_FI_DEV_GPU_TEMP", "Temperature (C).", |device| {
                Some(device.sample.as_ref()?.temperature.known()?.0.into())
            }),
            ("DCGM_FI_DEV_POWER_USAGE", "Power drawn (W).", |device| {
                Some(f64::from(device.sample.as_ref()?.power.known()?.0) / 1000.0)
            }),
        ];
        figures.into_iter().try_for_each(|(name, help, read)| self.per_device(state, name, help, read))
    }

    fn health(&self, state: &NodeState) -> prometheus::Result<()> {
        let figures: [(&str, &str, Read); 6] = [
            ("DCGM_FI_DEV_XID_ERRORS", "The last XID.", |device| device.last_xid.map(|xid| xid as f64)),
            (
                "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
                "Corrected ECC errors since the driver was loaded.",
                |device| Some(*device.health.as_ref()?.ecc_volatile.corrected.known()? as f64),
            ),
            (
                "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
                "Uncorrected ECC errors since the driver was loaded.",
                |device| Some(*device.health.as_ref()?.ecc_volatile.uncorrected.known()? as f64),
            ),
            (
                "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
                "Rows remapped for uncorrectable errors.",
                |device| Some(device.health.as_ref()?.remapped_rows.known()?.uncorrected.into()),
            ),
            ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "Whether rows could not be remapped.", |device| {
                Some(u8::from(device.health.as_ref()?.remapped_rows.known()?.failed).into())
            }),
            ("berth_gpu_healthy", "Whether the device may take new pods (S18).", |device| {
                Some(u8::from(device.fitness == Fitness::Healthy).into())
            }),
        ];
        figures.into_iter().try_for_each(|(name, help, read)| self.per_device(state, name, help, read))
    }

    fn pods(&self, state: &NodeState) -> prometheus::Result<()> {
        let used = self.gauge("berth_pod_gpu_memory_used_bytes", "Memory of a pod on a device.", &POD)?;
        for device in &state.devices {
            let uuid = device.info.uuid.known().map_or("", String::as_str);
            let index = device.info.index.to_string();
            for (uid, bytes) in device.shares.iter().flat_map(|shares| &shares.pods) {
                let name = state.pods.name(uid);
                let (namespace, pod) = name.map_or(("", ""), |name| (&name.namespace, &name.name));
                let labels = [&index, uuid, &self.node, namespace, pod, uid.as_str()];
                used.with_label_values(&labels).set(bytes.0 as f64);
            }
        }
        Ok(())
    }
}
