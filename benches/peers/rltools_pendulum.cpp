// Trains PPO on RLtools' pendulum at the setting of ppo_pendulum_rltools.toml and prints environment steps a second.
//
//   rltools_pendulum CONFIG.toml STEPS
//
// The file is not read, as the setting is compiled in. run.sh compiles this against the headers of the PyPI package
// rltools. The one that selects the networks' operations for the CPU, nn/operations_cpu_mux.h, is what makes BLAS be
// called: without it everything runs in plain loops, ten times slower.
#include <rl_tools/operations/cpu_mux.h>
#include <rl_tools/nn/optimizers/adam/instance/operations_generic.h>
#include <rl_tools/nn/operations_cpu_mux.h>
#include <rl_tools/rl/environments/pendulum/operations_generic.h>
#include <rl_tools/nn/layers/standardize/operations_generic.h>
#include <rl_tools/nn_models/mlp_unconditional_stddev/operations_generic.h>
#include <rl_tools/nn_models/sequential/operations_generic.h>
#include <rl_tools/nn/optimizers/adam/operations_generic.h>
#include <rl_tools/rl/algorithms/ppo/loop/core/config.h>
#include <rl_tools/rl/algorithms/ppo/loop/core/operations_generic.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace rlt = rl_tools;
using Device = rlt::devices::DEVICE_FACTORY<>;
using Types = rlt::numeric_types::Policy<float>;
using Index = Device::index_t;
using Rng = Device::SPEC::RANDOM::ENGINE<>;
using Environment = rlt::rl::environments::Pendulum<
    rlt::rl::environments::pendulum::Specification<float, Index, rlt::rl::environments::pendulum::DefaultParameters<float>>>;

struct Setting : rlt::rl::algorithms::ppo::loop::core::DefaultParameters<Types, Index, Environment> {
    static constexpr Index N_ENVIRONMENTS = 4, ON_POLICY_RUNNER_STEPS_PER_ENV = 1024, BATCH_SIZE = 256;
    static constexpr Index ACTOR_HIDDEN_DIM = 64, CRITIC_HIDDEN_DIM = 64, EPISODE_STEP_LIMIT = 200;
    static constexpr Index STEP_LIMIT = 1'000'000;  // Iterations; main stops earlier.
    using ACTOR_OPTIMIZER_PARAMETERS = rlt::nn::optimizers::adam::DEFAULT_PARAMETERS_PYTORCH<Types>;
    using CRITIC_OPTIMIZER_PARAMETERS = ACTOR_OPTIMIZER_PARAMETERS;
    struct PPO_PARAMETERS : rlt::rl::algorithms::ppo::DefaultParameters<Types, Index, BATCH_SIZE> {
        static constexpr float ACTION_ENTROPY_COEFFICIENT = 0, GAMMA = 0.9, INITIAL_ACTION_STD = 2;
        static constexpr Index N_EPOCHS = 2;
    };
};
using Config = rlt::rl::algorithms::ppo::loop::core::Config<Types, Index, Rng, Environment, Setting,
    rlt::rl::algorithms::ppo::loop::core::ConfigApproximatorsSequential, true>;

int main(int, char** arguments) {
    constexpr long BATCH = Setting::N_ENVIRONMENTS * Setting::ON_POLICY_RUNNER_STEPS_PER_ENV;
    const long iterations = std::atol(arguments[2]) / BATCH;
    Device device;
    Config::State<Config> state;
    rlt::malloc(device, state);
    rlt::init(device, state, 1);
    const auto begin = std::chrono::steady_clock::now();
    for (long iteration = 0; iteration < iterations; iteration++) rlt::step(device, state);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%.0f\n", iterations * BATCH / seconds);
}
