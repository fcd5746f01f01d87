"""Pretrain Rose by joint mask-reconstruction.

    python train_rose.py data_path=D batch_size=64 total_epoch=120 schedule=[90,110] \\
        save_root_dir=R save_dir=rose
    python train_rose.py experiment=own_city data_path=D     # values that suit your own tiles
    python train_rose.py experiment=sample                   # two minutes, nothing needed
    python train_rose.py data_path=D recipe=release          # the authors' code with its accidents
    torchrun --nproc-per-node=4 train_rose.py data_path=D    # several GPUs; several hosts:
                                                             # docs/many_machines.md

The same command continues a run that was stopped. Outputs are in save_root_dir/save_dir.
"""

from pathlib import Path

from training.keys import TRAIN, TrainConfig
from utils.cli.command import command
from utils.cli.program import Scored


def train(cfg: TrainConfig) -> Scored:
    # the libraries of a network load for seconds, which --help and a mistyped key need not wait for
    from datasets.sample_city.tiles import ensure_sample
    from training.devices import alone, launch
    from training.own_city import settled
    from training.pretraining import PretrainingRun
    from training.records import last_epoch_losses, read_metrics
    from training.schedule import learning_rate, set_learning_rate
    from training.summary import add_picture, report

    cfg, chosen = settled(cfg)  # what was left to the number of tiles and the machine
    fabric = launch(cfg)
    fabric.print(*chosen, sep="\n", end="\n" * bool(chosen))
    with alone(fabric, Path(cfg.save_root_dir, cfg.save_dir), "save_dir"):
        ensure_sample(fabric, cfg.data_path, cfg.sample_tiles)
        with PretrainingRun(cfg, fabric) as run:
            for epoch in run.epochs():
                set_learning_rate(run.optimizer, learning_rate(
                    run.base_lr, epoch, cfg.total_epoch, cfg.schedule, cfg.lr_decay, cfg.cos))
                for step in run.steps():
                    for batch in step:  # one, or several with accumulate=
                        run.fabric.backward(step.loss(run.rose(*batch)))
                    losses = run.check(step)
                    run.optimizer.step()
                    run.optimizer.zero_grad()
                    run.follow()  # of the momentum encoder, with image_target=latent
                    run.count(losses)
                if epoch % cfg.picture_every == 0:
                    add_picture(run)
                run.end_epoch()
        report(run)
        losses = last_epoch_losses(read_metrics(run.folder))
    return Scored(sum(losses.values()), losses)


main = command(TRAIN)(train)

if __name__ == "__main__":
    main()
