//! What the operations' bodies share: tensors as plain slices on `flex`, and as formulas elsewhere.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{
    Backend, BackendTensor, DispatchTensor, DispatchTensorKind, Flex, TensorMetadata,
};
use burn::tensor::{Device, Shape, Slice, Tensor, TensorData, read_sync};
use std::borrow::Cow;
use std::ops::{Add, Mul, Neg, Sub};

/// A tensor that operations write into where it lies. Burn's own dispatch moves each tensor that it changes, 576 bytes that
/// two threads would take from each other's cache in every minibatch. Operations panic when their tensors are not on
/// one backend, or are part of a graph of Burn's autodiff.
#[derive(Clone, Debug)]
pub struct Handle(DispatchTensor);

impl Handle {
    /// One that an operation is to write its result into.
    #[must_use]
    pub fn empty(device: &Device) -> Handle {
        Tensor::<1>::zeros([1], device).into()
    }

    /// A vector of these numbers.
    #[must_use]
    pub fn vector(numbers: &[f32], device: &Device) -> Handle {
        let data = TensorData::new(numbers.to_vec(), [numbers.len()]);
        Tensor::<1>::from_data(data, device).into()
    }

    /// The tensor.
    ///
    /// # Panics
    /// When it has another number of dimensions.
    #[must_use]
    pub fn tensor<const D: usize>(&self) -> Tensor<D> {
        self.clone().into_tensor()
    }

    /// The tensor itself.
    ///
    /// # Panics
    /// When it has another number of dimensions.
    #[must_use]
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_dispatch(self.0)
    }

    pub(super) fn of(tensor: DispatchTensor) -> Handle {
        Handle(tensor)
    }

    /// What an operation of Burn's dispatch reads.
    pub(super) fn dispatched(&self) -> &DispatchTensor {
        &self.0
    }

    /// Which backend it is on; see [`on_backend_of`].
    pub(super) fn kind(&self) -> &DispatchTensorKind {
        &self.0.kind
    }

    /// What an operation reads.
    ///
    /// # Panics
    /// When it is on another backend.
    pub(super) fn read<B: Stored>(&self) -> &FloatTensor<B> {
        B::of(&self.0.kind).unwrap_or_else(|| panic!("the tensors are on different backends"))
    }

    /// What an operation changes.
    ///
    /// # Panics
    /// When it is on another backend.
    pub(super) fn write<B: Stored>(&mut self) -> &mut FloatTensor<B> {
        B::of_mut(&mut self.0.kind)
            .unwrap_or_else(|| panic!("the tensors are on different backends"))
    }
}

/// A backend that a [`Handle`]'s tensor may be on.
pub(super) trait Stored: Backend {
    /// The tensor, if it is on this backend.
    fn of(kind: &DispatchTensorKind) -> Option<&FloatTensor<Self>>;

    /// The same, to be changed.
    fn of_mut(kind: &mut DispatchTensorKind) -> Option<&mut FloatTensor<Self>>;
}

macro_rules! stored {
    ($backend:ident) => {
        impl Stored for burn::backend::$backend {
            fn of(kind: &DispatchTensorKind) -> Option<&FloatTensor<Self>> {
                match kind {
                    DispatchTensorKind::$backend(BackendTensor::Float(tensor)) => Some(tensor),
                    _ => None,
                }
            }

            fn of_mut(kind: &mut DispatchTensorKind) -> Option<&mut FloatTensor<Self>> {
                match kind {
                    DispatchTensorKind::$backend(BackendTensor::Float(tensor)) => Some(tensor),
                    _ => None,
                }
            }
        }
    };
}
stored!(Flex);
#[cfg(feature = "ndarray")]
stored!(NdArray);
#[cfg(feature = "wgpu")]
stored!(Cube);

/// What an expression gives on the backend of a [`Handle`]'s tensor, which it knows by a name.
macro_rules! on_backend_of {
    ($handle:expr, $name:ident => $body:expr) => {
        match $handle.kind() {
            burn::backend::DispatchTensorKind::Flex(_) => {
                type $name = burn::backend::Flex;
                $body
            }
            #[cfg(feature = "ndarray")]
            burn::backend::DispatchTensorKind::NdArray(_) => {
                type $name = burn::backend::NdArray;
                $body
            }
            #[cfg(feature = "wgpu")]
            burn::backend::DispatchTensorKind::Cube(_) => {
                type $name = burn::backend::Cube;
                $body
            }
            _ => panic!(
                "an operation that writes into tensors has none for autodiff or for this backend"
            ),
        }
    };
}
pub(super) use on_backend_of;

impl<const D: usize> From<Tensor<D>> for Handle {
    fn from(tensor: Tensor<D>) -> Handle {
        Handle::of(tensor.into_dispatch())
    }
}

/// A tensor on `flex`.
pub(super) type Array = FloatTensor<Flex>;

/// A tensor's numbers in row-major order.
///
/// # Panics
/// When they are no `f32`, which every tensor of this crate is.
pub(super) fn slice_of(tensor: &Array) -> &[f32] {
    let Some(numbers) = tensor.as_slice() else {
        unreachable!("a contiguous tensor of f32 is expected")
    };
    numbers
}

/// The same of a tensor in any order; a copy only where it is not in that one.
pub(super) fn numbers_of(tensor: &Array) -> Cow<'_, [f32]> {
    match tensor.as_slice() {
        Some(numbers) => Cow::Borrowed(numbers),
        None => Cow::Owned(slice_of(&tensor.to_contiguous()).to_vec()),
    }
}

/// The tensor in row-major order; a copy only where it is not yet.
pub(super) fn contiguous(tensor: Array) -> Array {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

pub(super) fn tensor_of<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Array {
    Flex::float_from_data(TensorData::new(numbers, shape), &Default::default())
}

/// So many numbers to be written over, in the memory of the vector, where that has this length and nobody else holds it.
pub(super) fn room(vector: &mut Array, length: usize) -> &mut [f32] {
    if !vector.is_unique() || vector.storage::<f32>().len() != length {
        *vector = tensor_of(vec![0.0; length], [length]);
    }
    vector.storage_mut()
}

/// A vector's numbers, to be changed; of one that somebody else holds, too, those of a copy.
pub(super) fn numbers_mut(vector: &mut Array) -> &mut [f32] {
    if !vector.is_contiguous() {
        *vector = vector.to_contiguous();
    }
    vector.storage_mut()
}

/// A tensor's numbers on the host.
pub(super) fn host<B: Backend>(tensor: FloatTensor<B>) -> Result<Vec<f32>, String> {
    let data = read_sync(B::float_into_data(tensor)).map_err(|error| error.to_string())?;
    data.try_into_vec().map_err(|error| error.to_string())
}

/// A tensor of any backend with the signs of arithmetic, so that default bodies read like formulas.
/// A dimension of size 1 stands for as many as the other side has.
pub(super) struct Expr<B: Backend>(pub(super) FloatTensor<B>);

impl<B: Backend> Clone for Expr<B> {
    fn clone(&self) -> Self {
        Expr(self.0.clone())
    }
}

impl<B: Backend> Add for Expr<B> {
    type Output = Expr<B>;
    fn add(self, other: Expr<B>) -> Expr<B> {
        Expr(B::float_add(self.0, other.0))
    }
}

impl<B: Backend> Sub for Expr<B> {
    type Output = Expr<B>;
    fn sub(self, other: Expr<B>) -> Expr<B> {
        Expr(B::float_sub(self.0, other.0))
    }
}

impl<B: Backend> Mul for Expr<B> {
    type Output = Expr<B>;
    fn mul(self, other: Expr<B>) -> Expr<B> {
        Expr(B::float_mul(self.0, other.0))
    }
}

impl<B: Backend> Mul<f64> for Expr<B> {
    type Output = Expr<B>;
    fn mul(self, factor: f64) -> Expr<B> {
        Expr(B::float_mul_scalar(self.0, factor.into()))
    }
}

impl<B: Backend> Add<f64> for Expr<B> {
    type Output = Expr<B>;
    fn add(self, number: f64) -> Expr<B> {
        Expr(B::float_add_scalar(self.0, number.into()))
    }
}

impl<B: Backend> Neg for Expr<B> {
    type Output = Expr<B>;
    fn neg(self) -> Expr<B> {
        Expr(B::float_neg(self.0))
    }
}

impl<B: Backend> Expr<B> {
    pub(super) fn exp(self) -> Self {
        Expr(B::float_exp(self.0))
    }

    pub(super) fn ln_1p(self) -> Self {
        Expr(B::float_log1p(self.0))
    }

    pub(super) fn abs(self) -> Self {
        Expr(B::float_abs(self.0))
    }

    pub(super) fn sqrt(self) -> Self {
        Expr(B::float_sqrt(self.0))
    }

    pub(super) fn recip(self) -> Self {
        Expr(B::float_recip(self.0))
    }

    pub(super) fn tanh(self) -> Self {
        Expr(B::float_tanh(self.0))
    }

    pub(super) fn square(self) -> Self {
        self.clone() * self
    }

    pub(super) fn clamp(self, low: f64, high: f64) -> Self {
        Expr(B::float_clamp(self.0, low.into(), high.into()))
    }

    /// Sum of all numbers, `[1]`.
    pub(super) fn sum(self) -> Self {
        Expr(B::float_sum(self.0))
    }

    /// Mean of all numbers, `[1]`.
    pub(super) fn mean(self) -> Self {
        Expr(B::float_mean(self.0))
    }

    /// Sum of each row, `[rows, 1]`.
    pub(super) fn sum_of_rows(self) -> Self {
        Expr(B::float_sum_dim(self.0, 1))
    }

    /// Sum of each column, `[1, columns]`.
    pub(super) fn sum_of_columns(self) -> Self {
        Expr(B::float_sum_dim(self.0, 0))
    }

    pub(super) fn reshape<const D: usize>(self, shape: [usize; D]) -> Self {
        Expr(B::float_reshape(self.0, Shape::from(shape)))
    }

    /// Numbers `from..to` of a vector.
    pub(super) fn range(self, from: usize, to: usize) -> Self {
        Expr(B::float_slice(self.0, &[Slice::from(from..to)]))
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        let shape = self.0.shape();
        [shape[0], shape[1]]
    }

    /// Whether `self` is smaller than `other` of the same shape, number by number.
    pub(super) fn below(self, other: Expr<B>) -> BoolTensor<B> {
        let bool_dtype = burn::backend::get_device_settings::<B>(&self.0.device()).bool_dtype;
        B::float_lower(self.0, other.0, bool_dtype)
    }

    /// The same as 1 or 0.
    pub(super) fn indicator_below(self, other: Expr<B>) -> Self {
        let dtype = self.0.dtype();
        Expr(B::bool_into_float(self.below(other), dtype.into()))
    }

    /// `other` where the mask holds, `self` elsewhere: unlike a product with 0, also where one of them
    /// is infinite.
    pub(super) fn replaced(self, mask: BoolTensor<B>, other: Expr<B>) -> Self {
        Expr(B::float_mask_where(self.0, mask, other.0))
    }

    /// 0 where the mask holds, `self` elsewhere.
    pub(super) fn erased(self, mask: BoolTensor<B>) -> Self {
        Expr(B::float_mask_fill(self.0, mask, 0.0.into()))
    }
}

/// Marks the body of an operation for `flex`; nothing outside of the tests.
macro_rules! flex_body {
    ($name:literal) => {
        #[cfg(test)]
        crate::ops::tensors::ran::note($name);
    };
}
pub(super) use flex_body;

/// Which bodies for `flex` have run on this thread, by name: the tests notice when one does not.
#[cfg(test)]
pub(crate) mod ran {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static NAMES: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(crate) fn note(name: &'static str) {
        NAMES.with_borrow_mut(|names| names.insert(name));
    }

    pub(crate) fn take() -> BTreeSet<&'static str> {
        NAMES.take()
    }
}
