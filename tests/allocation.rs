//! Acting allocates nothing per step: counted by an allocator that counts.

use agents::{Agent, AgentConfig, Backend, Collector, NetworkConfig, PpoConfig};
use envs::{Registry, VectorEnv};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn acting_allocates_nothing_once_the_buffers_have_grown() {
    for (name, normalize) in
        [("cartpole", false), ("pendulum", true), ("reach", true), ("cliff", false)]
    {
        let envs = VectorEnv::new(&Registry::default().get(name).unwrap(), 1, 0, 8);
        let config = AgentConfig::new(PpoConfig { rollout_steps: 512, ..PpoConfig::default() });
        let network = NetworkConfig::default();
        let device = Backend::Flex.open().unwrap();
        let (observations, actions) =
            (envs.observation_space().clone(), envs.action_space().clone());
        let mut agent =
            Agent::new(&config, &network, normalize, &observations, &actions, 1, device).unwrap();
        let mut collector = Collector::new(envs, &mut agent, normalize, 1).unwrap();
        // The lists of ended episodes grow to the longest that was needed.
        for _ in 0..3 {
            collector.collect(&mut agent).unwrap();
        }
        let before = ALLOCATIONS.with(Cell::get);
        collector.collect(&mut agent).unwrap();
        let allocations = ALLOCATIONS.with(Cell::get) - before;
        // 4096 steps; a list may grow once more.
        assert!(allocations <= 2, "{name}: {allocations} allocations in 512 x 8 steps");
    }
}
