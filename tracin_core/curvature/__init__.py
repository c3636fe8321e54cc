"""Second derivatives of the mean train loss, and ways to solve with them.

``Curvature`` gives products of the Hessian or Gauss-Newton matrix H with vectors, streamed over
batches. Every solver, one a file, stands for ``(H + damping I)^-1``. H is that of the **mean** of
the train examples' losses; a damping that was chosen for their sum is to be divided by N.
"""
