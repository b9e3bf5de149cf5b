# ruff: noqa: E501
"""The works whose methods are used, or whose claims are examined."""

from __future__ import annotations

from lossatlas.document.blocks import Items, Link, Section, Text

WORKS = (
    ("Ainsworth, S. K., Hayase, J. and Srinivasa, S. (2023). Git Re-Basin: Merging Models modulo Permutation Symmetries. International Conference on Learning Representations (ICLR).", "https://arxiv.org/abs/2209.04836"),
    ("Chaudhari, P., Choromanska, A., Soatto, S., LeCun, Y., Baldassi, C., Borgs, C., Chayes, J., Sagun, L. and Zecchina, R. (2017). Entropy-SGD: Biasing Gradient Descent into Wide Valleys. International Conference on Learning Representations (ICLR).", "https://arxiv.org/abs/1611.01838"),
    ("Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application. Cambridge University Press.", ""),
    ("Dinh, L., Pascanu, R., Bengio, S. and Bengio, Y. (2017). Sharp Minima Can Generalize For Deep Nets. International Conference on Machine Learning (ICML).", "https://arxiv.org/abs/1703.04933"),
    ("Draxler, F., Veschgini, K., Salmhofer, M. and Hamprecht, F. A. (2018). Essentially No Barriers in Neural Network Energy Landscape. International Conference on Machine Learning (ICML).", "https://arxiv.org/abs/1803.00885"),
    ("Entezari, R., Sedghi, H., Saukh, O. and Neyshabur, B. (2022). The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks. International Conference on Learning Representations (ICLR).", "https://arxiv.org/abs/2110.06296"),
    ("Foret, P., Kleiner, A., Mobahi, H. and Neyshabur, B. (2021). Sharpness-Aware Minimization for Efficiently Improving Generalization. International Conference on Learning Representations (ICLR).", "https://arxiv.org/abs/2010.01412"),
    ("Garipov, T., Izmailov, P., Podoprikhin, D., Vetrov, D. P. and Wilson, A. G. (2018). Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. Advances in Neural Information Processing Systems (NeurIPS).", "https://arxiv.org/abs/1802.10026"),
    ("Ghorbani, B., Krishnan, S. and Xiao, Y. (2019). An Investigation into Neural Net Optimization via Hessian Eigenvalue Density. International Conference on Machine Learning (ICML).", "https://arxiv.org/abs/1901.10159"),
    ("Glorot, X. and Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural networks. International Conference on Artificial Intelligence and Statistics (AISTATS).", "https://proceedings.mlr.press/v9/glorot10a.html"),
    ("Goodfellow, I. J., Vinyals, O. and Saxe, A. M. (2015). Qualitatively Characterizing Neural Network Optimization Problems. International Conference on Learning Representations (ICLR).", "https://arxiv.org/abs/1412.6544"),
    ("He, K., Zhang, X., Ren, S. and Sun, J. (2015). Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification. IEEE International Conference on Computer Vision (ICCV).", "https://arxiv.org/abs/1502.01852"),
    ("Hochreiter, S. and Schmidhuber, J. (1997). Flat Minima. Neural Computation 9(1), 1-42.", "https://doi.org/10.1162/neco.1997.9.1.1"),
    ("Hutchinson, M. F. (1990). A Stochastic Estimator of the Trace of the Influence Matrix for Laplacian Smoothing Splines. Communications in Statistics - Simulation and Computation 19(2), 433-450.", "https://doi.org/10.1080/03610919008812866"),
    ("Keskar, N. S., Mudigere, D., Nocedal, J., Smelyanskiy, M. and Tang, P. T. P. (2017). On Large-Batch Training for Deep Learning: Generalization Gap and Sharp Minima. International Conference on Learning Representations (ICLR).", "https://arxiv.org/abs/1609.04836"),
    ("Kingma, D. P. and Ba, J. (2015). Adam: A Method for Stochastic Optimization. International Conference on Learning Representations (ICLR).", "https://arxiv.org/abs/1412.6980"),
    ("Lanczos, C. (1950). An Iteration Method for the Solution of the Eigenvalue Problem of Linear Differential and Integral Operators. Journal of Research of the National Bureau of Standards 45(4), 255-282.", "https://doi.org/10.6028/jres.045.026"),
    ("Li, H., Xu, Z., Taylor, G., Studer, C. and Goldstein, T. (2018). Visualizing the Loss Landscape of Neural Nets. Advances in Neural Information Processing Systems (NeurIPS).", "https://arxiv.org/abs/1712.09913"),
    ("Pearlmutter, B. A. (1994). Fast Exact Multiplication by the Hessian. Neural Computation 6(1), 147-160.", "https://doi.org/10.1162/neco.1994.6.1.147"),
    ("Rao, J. N. K. and Wu, C. F. J. (1988). Resampling Inference with Complex Survey Data. Journal of the American Statistical Association 83(401), 231-241.", "https://doi.org/10.1080/01621459.1988.10478591"),
    ("Snijders, T. A. B. and Borgatti, S. P. (1999). Non-Parametric Standard Errors and Tests for Network Statistics. Connections 22(2), 161-170.", ""),
    ("Wilson, A. C., Roelofs, R., Stern, M., Srebro, N. and Recht, B. (2017). The Marginal Value of Adaptive Gradient Methods in Machine Learning. Advances in Neural Information Processing Systems (NeurIPS).", "https://arxiv.org/abs/1705.08292"),
    ("Wu, K. and Simon, H. (2000). Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems. SIAM Journal on Matrix Analysis and Applications 22(2), 602-616.", "https://doi.org/10.1137/S0895479898334605"),
    ("Yao, Z., Gholami, A., Keutzer, K. and Mahoney, M. W. (2020). PyHessian: Neural Networks Through the Lens of the Hessian. IEEE International Conference on Big Data.", "https://arxiv.org/abs/1912.07145"),
    ("Zhou, P., Feng, J., Ma, C., Xiong, C., Hoi, S. C. H. and E, W. (2020). Towards Theoretically Understanding Why SGD Generalizes Better Than ADAM in Deep Learning. Advances in Neural Information Processing Systems (NeurIPS).", "https://arxiv.org/abs/2010.05627"),
)  # fmt: skip


def references() -> Section:
    items: list[Text] = [(work, " ", Link(address, address)) if address else (work,) for work, address in WORKS]
    return Section("references", "References", (Items(tuple(items)),))
