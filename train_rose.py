"""Pretrain Rose by joint mask-reconstruction.

    python train_rose.py data_path=D batch_size=64 total_epoch=120 schedule=[90,110]
    save_root_dir=R save_dir=rose python train_rose.py experiment=sample                     # two
    minutes, nothing needed python train_rose.py data_path=D recipe=release            # the
    authors' code, its accidents included torchrun --nproc-per-node=4 train_rose.py data_path=D
    # several GPUs; several hosts: docs/many_machines.md

The same command continues a run that was stopped. Outputs are in save_root_dir/save_dir.
"""

from datasets.sample_city.tiles import ensure_sample
from training.devices import launch
from training.keys import TrainConfig
from training.pretraining import PretrainingRun
from training.schedule import learning_rate, set_learning_rate
from training.summary import add_picture, report
from utils.cli.command import script


def train(cfg: TrainConfig) -> None:
    fabric = launch(cfg)
    ensure_sample(fabric, cfg.data_path, cfg.sample_tiles)
    with PretrainingRun(cfg, fabric) as run:
        for epoch in run.epochs():
            set_learning_rate(run.optimizer,
                              learning_rate(run.base_lr, epoch, cfg.total_epoch, cfg.schedule,
                                            cfg.lr_decay, cfg.cos))
            for step in run.steps():
                for batch in step:  # one, or several with accumulate=
                    run.fabric.backward(step.loss(run.rose(*batch)))
                losses = run.check(step)
                run.optimizer.step()
                run.optimizer.zero_grad()
                run.count(losses)
            if epoch % cfg.picture_every == 0:
                add_picture(run)
            run.end_epoch()
    report(run)


main = script("train_rose", TrainConfig, folder="save_root_dir/save_dir")(train)

if __name__ == "__main__":
    main()
