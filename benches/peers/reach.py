"""Our two-link arm as a Gymnasium environment, for the peers; the equations are those of reach.rs."""

from math import cos, pi, sin

import gymnasium
import numpy as np

LENGTH, MASS, FRICTION, TORQUE, TIME_STEP = 0.5, 1.0, 0.1, 2.0, 0.01
INERTIA = MASS * LENGTH**2


def accelerations(q2, v1, v2, torque1, torque2):
    """Of both joints: the mass matrix's inverse times the torques that are left, rad/s^2."""
    c = cos(q2)
    m11 = INERTIA * (5 / 3 + c)
    m12 = INERTIA * (1 / 3 + 0.5 * c)
    m22 = INERTIA / 3
    h = 0.5 * INERTIA * sin(q2)
    f1 = torque1 - FRICTION * v1 + h * (2 * v1 * v2 + v2 * v2)
    f2 = torque2 - FRICTION * v2 - h * v1 * v1
    determinant = m11 * m22 - m12 * m12
    return (m22 * f1 - m12 * f2) / determinant, (m11 * f2 - m12 * f1) / determinant


class Reach(gymnasium.Env):
    """Truncated by gymnasium's TimeLimit after 200 steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (10,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.q = list(self.np_random.uniform(-pi, pi, 2))
        self.v = list(self.np_random.uniform(-0.1, 0.1, 2))
        radius = np.sqrt(self.np_random.uniform(0.2**2, 0.95**2))
        angle = self.np_random.uniform(-pi, pi)
        self.object = (radius * cos(angle), radius * sin(angle))
        return self.observation(), {}

    def gripper(self):
        (q1, q2), (v1, v2) = self.q, self.v
        upper = LENGTH * cos(q1), LENGTH * sin(q1)
        fore = LENGTH * cos(q1 + q2), LENGTH * sin(q1 + q2)
        velocity = -upper[1] * v1 - fore[1] * (v1 + v2), upper[0] * v1 + fore[0] * (v1 + v2)
        return (upper[0] + fore[0], upper[1] + fore[1]), velocity

    def observation(self):
        (q1, q2), (x, y) = self.q, self.gripper()[0]
        row = [cos(q1), sin(q1), cos(q2), sin(q2), *self.v, x, y, *self.object]
        return np.array(row, np.float32)

    def step(self, action):
        action = [min(max(float(a), -1.0), 1.0) for a in action]
        torques = [TORQUE * a for a in action]
        for _ in range(2):
            self.integrate(*torques)
        (x, y), (vx, vy) = self.gripper()
        distance = ((x - self.object[0]) ** 2 + (y - self.object[1]) ** 2) ** 0.5
        grasped = distance <= 0.05 and (vx * vx + vy * vy) ** 0.5 <= 0.5
        reward = -distance - 0.01 * (action[0] ** 2 + action[1] ** 2) + 10.0 * grasped
        return self.observation(), reward, grasped, False, {}

    def integrate(self, *torques):
        """One step of the classic Runge-Kutta method."""
        (q1, q2), (u1, u2) = self.q, self.v
        dt, half = TIME_STEP, 0.5 * TIME_STEP
        a1, a2 = accelerations(q2, u1, u2, *torques)
        v1, v2 = u1 + half * a1, u2 + half * a2
        b1, b2 = accelerations(q2 + half * u2, v1, v2, *torques)
        w1, w2 = u1 + half * b1, u2 + half * b2
        c1, c2 = accelerations(q2 + half * v2, w1, w2, *torques)
        x1, x2 = u1 + dt * c1, u2 + dt * c2
        d1, d2 = accelerations(q2 + dt * w2, x1, x2, *torques)
        self.q = [q1 + dt / 6 * (u1 + 2 * (v1 + w1) + x1), q2 + dt / 6 * (u2 + 2 * (v2 + w2) + x2)]
        self.v = [u1 + dt / 6 * (a1 + 2 * (b1 + c1) + d1), u2 + dt / 6 * (a2 + 2 * (b2 + c2) + d2)]


def make():
    """With the time limit."""
    return gymnasium.wrappers.TimeLimit(Reach(), 200)
