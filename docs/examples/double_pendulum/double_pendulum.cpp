// Swing up a pendulum that hangs on a pendulum, with a motor in the joint between them (an acrobot whose torque is
// continuous). Two rods of 1 m and 1 kg, their masses at their ends; angles from hanging down, the second one relative
// to the first. The equations are the manipulator's, M(q) q'' + c(q, q') + g(q) = (0, torque).
//
//   g++ -std=c++17 -O2 -pthread double_pendulum.cpp -o double_pendulum

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "backburn_env.hpp"

class DoublePendulum : public backburn::Environment {
public:
    void reset(std::uint32_t seed) override {
        std::mt19937 generator(seed);
        std::uniform_real_distribution<double> near(-0.1, 0.1);
        for (double& number : state_) number = near(generator);
    }

    backburn::Step step(const float* action) override {
        const double torque = 6.0 * std::clamp(static_cast<double>(action[0]), -1.0, 1.0);
        for (int part = 0; part < 5; ++part) runge_kutta(torque, 0.01);
        const double height = -std::cos(state_[0]) - std::cos(state_[0] + state_[1]);
        backburn::Step step;
        step.reward = (height + 2.0) / 4.0 - 0.001 * torque * torque;
        step.success = height > 1.5;
        // Spinning ever faster is no way to go on.
        step.terminated = std::abs(state_[2]) > 40.0 || std::abs(state_[3]) > 60.0;
        return step;
    }

    void observe(float* observation) const override {
        const auto [first, second, first_speed, second_speed] = state_;
        const double numbers[] = {std::cos(first), std::sin(first), std::cos(second),
                                  std::sin(second), first_speed / 5.0, second_speed / 10.0};
        std::copy(std::begin(numbers), std::end(numbers), observation);
    }

    std::vector<double> state() const override { return {state_.begin(), state_.end()}; }

    void set_state(const std::vector<double>& state) override { std::copy_n(state.begin(), 4, state_.begin()); }

private:
    using State = std::array<double, 4>;

    static State derivative(const State& state, double torque) {
        constexpr double gravity = 9.81;
        const auto [a, b, da, db] = state;
        const double m11 = 3.0 + 2.0 * std::cos(b), m12 = 1.0 + std::cos(b), m22 = 1.0;
        const double bend = std::sin(b);
        const double c1 = -bend * db * (2.0 * da + db), c2 = bend * da * da;
        const double g2 = gravity * std::sin(a + b), g1 = 2.0 * gravity * std::sin(a) + g2;
        const double r1 = -c1 - g1, r2 = torque - c2 - g2;
        const double determinant = m11 * m22 - m12 * m12;
        return {da, db, (m22 * r1 - m12 * r2) / determinant, (m11 * r2 - m12 * r1) / determinant};
    }

    void runge_kutta(double torque, double time) {
        const auto moved = [this](const State& slope, double by) {
            State to = state_;
            for (std::size_t i = 0; i < 4; ++i) to[i] += by * slope[i];
            return to;
        };
        const State k1 = derivative(state_, torque);
        const State k2 = derivative(moved(k1, time / 2.0), torque);
        const State k3 = derivative(moved(k2, time / 2.0), torque);
        const State k4 = derivative(moved(k3, time), torque);
        for (std::size_t i = 0; i < 4; ++i) state_[i] += time / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
    }

    State state_{};
};

int main() {
    return backburn::serve<DoublePendulum>(
        R"({"version": 1, "name": "double pendulum",
            "observation": {"low": [-1, -1, -1, -1, null, null], "high": [1, 1, 1, 1, null, null]},
            "action": {"low": [-1], "high": [1]},
            "max_episode_steps": 200, "success": true, "state": true,
            "step_seconds": 0.05, "action_names": ["torque [6 N m]"],
            "observation_names": ["cos first", "sin first", "cos second", "sin second",
                                  "first speed [5 rad/s]", "second speed [10 rad/s]"]})",
        6, 1);
}
