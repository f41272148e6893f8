//! Backends by name, and opening one without a panic.

use burn::tensor::Device;
#[cfg(feature = "wgpu")]
use burn::tensor::wgpu::WgpuBackend;
#[cfg(feature = "wgpu")]
use std::sync::OnceLock;

/// Where the update runs.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Burn's own CPU backend.
    #[default]
    Flex,
    /// The `ndarray` crate on the CPU; deprecated upstream.
    NdArray,
    /// A GPU through Vulkan, Metal or DirectX 12.
    Wgpu,
}

/// A backend that cannot be used on this machine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("backend {backend}: {reason}")]
pub struct BackendError {
    /// The backend that was asked for.
    pub backend: Backend,
    /// Why it cannot be used, and what is available instead.
    pub reason: String,
}

impl Backend {
    /// All backends; one that this build does not have, for want of the cargo feature of its name, has no device.
    pub const ALL: [Backend; 3] = [Backend::Flex, Backend::NdArray, Backend::Wgpu];

    /// Name as `--backend` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Flex => "flex",
            Backend::NdArray => "ndarray",
            Backend::Wgpu => "wgpu",
        }
    }

    /// Descriptions of the devices of this backend on this machine; empty when there is none.
    #[must_use]
    pub fn devices(self) -> Vec<String> {
        match self {
            Backend::NdArray if cfg!(not(feature = "ndarray")) => Vec::new(),
            Backend::Flex | Backend::NdArray => vec!["CPU".into()],
            Backend::Wgpu => gpu().iter().map(description).collect(),
        }
    }

    /// Opens the backend's default device.
    ///
    /// ```
    /// use agents::Backend;
    ///
    /// assert_eq!(Backend::Flex.devices(), ["CPU"]);
    /// let device = Backend::Flex.open()?;
    /// assert_eq!(device, Backend::default().open()?);
    /// # Ok::<(), agents::BackendError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such device on this machine; the message lists what is available.
    pub fn open(self) -> Result<Device, BackendError> {
        let reason = match self {
            Backend::Flex => return Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)] // kept because users know it
            Backend::NdArray => return Ok(Device::ndarray()),
            #[cfg(not(feature = "ndarray"))]
            Backend::NdArray => not_built_in(self),
            Backend::Wgpu => match gpu() {
                Ok(device) => return Ok(device),
                Err(reason) => reason,
            },
        };
        let available: Vec<&str> = Backend::ALL
            .into_iter()
            .filter(|backend| *backend != self && !backend.devices().is_empty())
            .map(Backend::name)
            .collect();
        let reason = format!("{reason}; available here: {}", available.join(", "));
        Err(BackendError { backend: self, reason })
    }

    /// Whether a device is the CPU that the program runs on.
    pub(crate) fn is_host(device: &Device) -> bool {
        [Backend::Flex, Backend::NdArray]
            .iter()
            .any(|own| own.open().is_ok_and(|own| own == *device))
    }
}

/// What a GPU calls itself.
fn description(device: &Device) -> String {
    #[cfg(feature = "wgpu")]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    format!("{device:?}")
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a backend is not there.
#[cfg(not(all(feature = "ndarray", feature = "wgpu")))]
fn not_built_in(backend: Backend) -> String {
    format!("this program was built without the cargo feature `{backend}`")
}

/// Without the feature there is none.
#[cfg(not(feature = "wgpu"))]
fn gpu() -> Result<Device, String> {
    Err(not_built_in(Backend::Wgpu))
}

/// The system's first GPU, opened once a process, through one graphics interface: the automatic choice
/// tries OpenGL too, which complains on a machine without a display.
#[cfg(feature = "wgpu")]
fn gpu() -> Result<Device, String> {
    static DEVICE: OnceLock<Result<Device, String>> = OnceLock::new();
    let interface = if cfg!(target_vendor = "apple") {
        WgpuBackend::Metal
    } else if cfg!(windows) {
        WgpuBackend::Dx12
    } else {
        WgpuBackend::Vulkan
    };
    let open = || {
        let device = Device::wgpu_options().graphics_api(interface).init();
        device.map_err(|error| format!("no GPU could be opened through {interface:?} ({error})"))
    };
    DEVICE.get_or_init(open).clone()
}
