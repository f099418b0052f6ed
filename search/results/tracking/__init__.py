"""How a study is shown in MLflow and TensorBoard: as a projection of its storage, which can always be made again."""
